"""Makes the helpers beside this file importable from every folder of tests.

pytest puts the folder of a conftest.py on the path; `import fake_runs` needs no more.
"""
