"""How a command ends: its exit code, and one line on stderr."""

import os
import signal
import subprocess
import sys

import pytest
import tiny

from dermssl import __main__ as entry
from dermssl.core import cli, signals
from dermssl.core.errors import RunFailed, UserError, unknown_name


def parser_of_a_test():
    return cli.Parser(prog="python -m dermssl.test", description="What it does.")


def run(function, *argv, debug=True):
    parser = parser_of_a_test()
    parser.add_argument("--n", type=int)
    parser.add_argument("--kind", choices=("a", "b"))
    if debug:
        parser.add_argument("--debug", action="store_true")
    return cli.run(parser, function, list(argv))


def raising(error):
    def function(args):
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("no file"), 2, "dermssl: error: no file"),
        (RunFailed("disk full"), 1, "dermssl: error: disk full"),
        (UserError("two\nlines\t here"), 2, "dermssl: error: two lines here"),
        (KeyboardInterrupt(), 130, "dermssl: interrupted"),
        (
            signals.Stopped(signal.SIGTERM, "saved after step 3 of 9"),
            143,
            "dermssl: stopped by SIGTERM, saved after step 3 of 9; go on with: "
            "python -m dermssl.test\n",
        ),
        (ZeroDivisionError("x\ny"), 1, "dermssl: internal error: ZeroDivisionError: x y (run"),
    ],
)
def test_an_error_is_one_line_and_a_code(capsys, error, code, said):
    assert run(raising(error)) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(said)
    assert shown.err.count("\n") == 1


def test_the_command_that_goes_on_can_be_pasted(capsys):
    assert run(raising(signals.Stopped(signal.SIGINT)), "--kind", "a") == 130
    assert capsys.readouterr().err.endswith("go on with: python -m dermssl.test --kind a\n")
    parser = parser_of_a_test()
    parser.add_argument("--data")
    assert cli.run(parser, raising(signals.Stopped(2)), ["--data", "my photos; rm"]) == 130
    assert capsys.readouterr().err.endswith("--data 'my photos; rm'\n")


def test_going_on_does_not_begin_anew(capsys):
    parser = parser_of_a_test()
    parser.add_argument("--overwrite", action="store_true")
    assert cli.run(parser, raising(signals.Stopped(2)), ["--overwrite"]) == 130
    assert capsys.readouterr().err.endswith("go on with: python -m dermssl.test\n")


def test_a_traceback_only_with_debug(capsys):
    assert run(raising(UserError("no file")), "--debug") == 2
    assert "Traceback" in capsys.readouterr().err
    assert run(raising(ValueError("bug")), "--debug") == 1
    assert "with --debug" not in capsys.readouterr().err


def test_a_parser_without_debug(capsys):
    assert run(raising(ValueError("bug")), debug=False) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_success(capsys):
    assert run(lambda args: print(args.n), "--n", "3") == 0
    assert capsys.readouterr() == ("3\n", "")


@pytest.mark.parametrize("argv", [["--n", "x"], ["--kind", "c"], ["--no-such"], ["extra"]])
def test_a_wrong_flag_is_one_line_too(capsys, argv):
    with pytest.raises(SystemExit) as stopped:
        run(lambda args: None, *argv)
    assert stopped.value.code == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert shown.startswith("dermssl: error: ")
    assert argv[-1] in shown
    assert "--help" in shown


def test_help_shows_the_docstring(capsys):
    with pytest.raises(SystemExit) as stopped:
        run(lambda args: None, "--help")
    assert stopped.value.code == 0
    assert "What it does." in capsys.readouterr().out


def test_a_closed_pipe_is_no_error():
    code = """
import sys
from dermssl.core import cli
def function(args):
    for k in range(100_000):
        print("line", k)
sys.exit(cli.run(cli.Parser(prog="python -m dermssl.test"), function, []))
"""
    import subprocess

    command = [sys.executable, "-c", code]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tiny.ROOT
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == cli.BROKEN_PIPE
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.parametrize("run_listens", [False, True])
def test_sigterm_is_one_line_for_every_command(run_listens):
    code = f"""
import contextlib, sys, time
from dermssl.core import cli, signals
def function(args):
    with signals.watch_signals() if {run_listens} else contextlib.nullcontext():
        print("there", flush=True)
        time.sleep(50)
sys.exit(cli.run(cli.Parser(prog="python -m dermssl.test"), function, []))
"""
    import subprocess

    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=tiny.ROOT,
    )  # fmt: skip
    process.stdout.readline()
    process.terminate()
    error = process.communicate(timeout=30)[1]
    onward = "go on" if run_listens else "run it again"
    assert error == f"dermssl: stopped by SIGTERM; {onward} with: python -m dermssl.test\n"
    assert process.returncode == 143


def test_quiet_tensorflow_shows_why_an_import_failed(capfd, monkeypatch):

    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "tensorflow":
                os.write(2, b"libcudart.so not found\n")
                raise ImportError("broken")

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    for name in [name for name in sys.modules if name == "tensorflow"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError):
        cli.quiet_tensorflow()
    assert "libcudart.so" in capfd.readouterr().err
    print("still there", file=sys.stderr)
    assert "still there" in capfd.readouterr().err


def test_the_console_script(capsys):
    assert entry.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in entry.COMMANDS)
    for argv, said in (([], "no command given"), (["trian"], "unknown command 'trian'")):
        assert entry.main(argv) == 2
        shown = capsys.readouterr().err
        assert said in shown
        assert shown.count("\n") == 1


@pytest.mark.parametrize("command", entry.COMMANDS)
def test_the_console_script_passes_flags_on(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        entry.main([command, "--help"])
    assert stopped.value.code == 0
    assert f"dermssl.{command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["grid", "--modles", "mobilenet", "densenet121"], "did you mean --models?;"),
        (["grid", "--modles=mobilenet"], "did you mean --models?;"),
        (["evaluate", "outputs/x", "--spilt", "test"], "did you mean --split?;"),
        (["grid", "--models", "mobilnet", "--data", "."], "; did you mean mobilenet?"),
        (["pretrain", "--data", ".", "--data-format", "foldrs"], "; did you mean folders?"),
        (["pretrian"], "; did you mean pretrain?"),
    ],
)
def test_a_misspelt_flag_command_or_choice_gets_the_likely_one(argv, said, capsys):
    try:
        code = entry.main(argv)
    except SystemExit as stopped:
        code = stopped.code
    shown = capsys.readouterr().err
    assert code == 2
    assert said in shown
    assert shown.count("\n") == 1


def test_a_flag_like_no_other_gets_no_guess(capsys):
    with pytest.raises(SystemExit):
        entry.main(["grid", "--zzzz", "1"])
    assert "did you mean" not in capsys.readouterr().err


def test_unknown_names_list_the_valid_ones():
    assert str(unknown_name("--backbone", "x", ["a", "b"])) == (
        "unknown --backbone 'x'; choose one of: a, b"
    )


@pytest.mark.parametrize(
    "command",
    [
        "adapt",
        "embeddings",
        "evaluate",
        "label_efficiency",
        "leakage",
        "model_comparison",
        "stress_test",
    ],
)
def test_too_few_draws_for_an_interval_are_refused(command, tmp_path, capsys):
    argv = ["--data", str(tmp_path)] if command == "leakage" else [str(tmp_path)]
    argv = ["--data", str(tmp_path)] if command == "label_efficiency" else argv
    assert entry.main([command, *argv, "--n-resamples", "99"]) == 2
    shown = capsys.readouterr().err
    assert "--n-resamples is 99; it must be at least 100" in shown
    assert shown.count("\n") == 1


def test_a_training_prints_no_lines_of_tensorflow():
    code = (
        "from dermssl.core import cli; cli.quiet_tensorflow()\n"
        "import tensorflow as tf; from dermssl.models.fused_silu import silu\n"
        "x = tf.constant([1.0])\n"
        "with tf.GradientTape() as tape:\n"
        "    tape.watch(x); y = silu(x)\n"
        "print(tape.gradient(y, x).shape)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tiny.ROOT, env=environment, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("(1,)\n", "")


@pytest.mark.slow
def test_tensorflow_keeps_freed_memory_where_onednn_does_not():
    """A command sets the pool before TensorFlow starts, and leaves what the user has set."""
    code = (
        "import gc, os; from dermssl.core import cli; cli.quiet_tensorflow()\n"
        "import tensorflow as tf\n"
        "assert gc.isenabled() and gc.get_threshold()[0] == cli.NEW_OBJECTS\n"
        "assert float(tf.reduce_sum(tf.ones([1000, 1000]))) == 1e6\n"
        "print(os.environ['TF_CPU_ALLOCATOR_USE_BFC'])\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TF_CPU_ALLOCATOR_USE_BFC", raising=False)
        patch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
        done = tiny.python("-c", code)
        assert done.stdout == "true\n", done.stderr
        patch.setenv("TF_CPU_ALLOCATOR_USE_BFC", "false")
        assert tiny.python("-c", code).stdout == "false\n"
