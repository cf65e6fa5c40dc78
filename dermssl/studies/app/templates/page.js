"use strict";
// Send a photo to /predict and show the answer. Texts are only ever set as text.
(() => {
  const main = document.querySelector("main");
  const tree = JSON.parse(main.dataset.tree), limit = Number(main.dataset.limit);
  const titles = Object.fromEntries(tree.flatMap(({ fine }) => fine));
  const parents = Object.fromEntries(tree.flatMap(({ name, fine }) => fine.map(([one]) => [one, name])));
  const [drop, input, status, section] = [".drop", "#photo", "#status", "#answer"].map((s) => document.querySelector(s));
  const add = (parent, tag, values = {}) => parent.appendChild(Object.assign(document.createElement(tag), values));
  const REMARKS = {
    "not confident": () => "Not confident: the classes named are a guess",
    "not like the training photos": ({ unlike_run: unlike }) =>
      `Not like the training photos (by ${unlike.split(" ").join(", ")}): the run's scores may not hold for it`,
    "fine and coarse disagree": ({ fine, coarse }) =>
      `Undecided: ${titles[fine]} is ${parents[fine]}, and the likeliest group is ${coarse}`,
  };
  const percent = (p) => `${(100 * p).toFixed(1)}%`;

  const entry = (list, name, p, named) => {
    const item = add(list, "li");
    const row = add(item, "div", { className: named ? "row named" : "row" });
    add(row, "span", { className: "name", textContent: name });
    add(row, "meter", { min: 0, max: 1, value: p, ariaLabel: name });
    add(row, "span", { className: "p", textContent: percent(p) });
    return item;
  };
  const falling = (items, p) => [...items].sort((a, b) => p(b) - p(a));
  const drawTree = (answer) => {
    const { fine, coarse } = answer.probabilities;
    const list = add(section, "ul", { className: "tree" });
    for (const group of falling(tree, ({ name }) => coarse[name])) {
      const alone = group.fine.length === 1 && group.fine[0][0] === group.name;  // no two levels
      const title = alone ? titles[group.name] : group.name;
      const item = entry(list, title, coarse[group.name], answer.coarse === group.name);
      if (alone) continue;
      const inner = add(item, "ul");
      for (const [name, text] of falling(group.fine, ([name]) => fine[name])) entry(inner, text, fine[name], answer.fine === name);
    }
  };
  const picture = (parent, src, caption) => {
    const figure = add(parent, "figure");
    if (src) add(figure, "img", { src, alt: "" });
    add(figure, "figcaption", { textContent: caption });
  };
  const show = (answer) => {
    section.replaceChildren();
    add(section, "h2", { id: "named", textContent: titles[answer.fine] });
    for (const remark of answer.remarks) {
      const text = (REMARKS[remark] || (() => remark))(answer);
      add(add(section, "blockquote"), "p", { textContent: `${text}.` });
    }
    if (answer.most_probable_fine !== answer.fine) {
      add(section, "p", { textContent: `Named is the likeliest class before calibration; the most probable one after it is ${titles[answer.most_probable_fine]}.` });
    }
    const pictures = add(section, "div", { className: "pictures" });
    picture(pictures, answer.pictures.seen, "What the network saw");
    if (answer.pictures.heat_map) picture(pictures, answer.pictures.heat_map, `What speaks for ${titles[answer.fine]} (Grad-CAM): yellow most. It is no outline of the lesion.`);
    add(section, "h3", { textContent: "Probabilities" });
    drawTree(answer);
    if (answer.p_malignant !== null) add(section, "p", { textContent: `Malignant: ${percent(answer.p_malignant)}` });
    if (answer.nearest_training.length) {
      add(section, "h3", { textContent: "Similar training lesions" });
      const similar = add(section, "div", { className: "pictures similar" });
      for (const lesion of answer.nearest_training) {
        const title = titles[lesion.fine] || lesion.fine || "no label";
        picture(similar, lesion.photo, `${title}, distance ${lesion.distance.toFixed(2)}${lesion.path ? `: ${lesion.path}` : ""}`);
      }
      add(section, "p", { textContent: "Distance is between embeddings: 1 is the limit beyond which a photo is unlike the training photos." });
    }
    const { model } = answer;
    add(section, "h3", { textContent: "How to read this" });
    const notes = add(section, "ul");
    for (const note of [answer.calibration, ...answer.notes]) add(notes, "li", { textContent: note });
    add(notes, "li", { textContent: `run ${model.run}, settings ${model.config_hash}, data ${model.data_hash}, model ${model.sha256.slice(0, 12)}` });
    section.hidden = false;
  };

  let latest = 0;  // an answer that comes after a later photo was given is not shown
  const ask = async (file) => {
    const own = ++latest;
    section.hidden = true;
    if (file.size > limit) {
      status.textContent = `The photo has over ${Math.floor(limit / 2 ** 20)} MB; choose a smaller one.`;
      return;
    }
    status.textContent = "Looking ...";
    let text;
    try {
      const body = new FormData();
      body.append("file", file, "photo");  // its name stays here
      const response = await fetch("predict?pictures=true", { method: "POST", body });
      const answer = await response.json();
      if (own !== latest) return;
      if (response.ok) show(answer);
      text = response.ok ? "" : `No answer: ${answer.detail}.`;
    } catch {
      text = "No answer: the program can't be reached.";
    }
    if (own === latest) status.textContent = text;
  };
  input.addEventListener("change", () => input.files.length && ask(input.files[0]));
  for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", over);
      if (name === "drop" && event.dataTransfer.files.length) ask(event.dataTransfer.files[0]);
    });
  }
})();
