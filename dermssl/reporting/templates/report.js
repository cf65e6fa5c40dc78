"use strict";
// The page is whole without this script. It adds: tables that sort and filter, values of figures
// under the pointer or by arrow keys, and the photos behind a value. Texts are only ever set as text.
(() => {
  const add = (parent, tag, values = {}) => parent.appendChild(Object.assign(document.createElement(tag), values));

  // Tables: a click on a title sorts up, then down, then gives the first order back.
  const key = (row, column) => {
    const cell = row.cells[column], number = cell.dataset.v;
    return number === undefined ? cell.textContent.trim().toLowerCase() : number === "" ? NaN : Number(number);
  };
  const compare = (a, b, sign) => {
    const missing = Number.isNaN(a) - Number.isNaN(b);
    if (missing || Number.isNaN(a)) return missing;  // what is not known comes last, either way
    return sign * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  };
  const sort = (table, rows, column) => {
    const head = table.tHead.rows[0].cells[column];
    const next = { none: "ascending", ascending: "descending", descending: "none" }[head.ariaSort || "none"];
    for (const other of table.tHead.rows[0].cells) other.ariaSort = "none";
    head.ariaSort = next;
    const sign = next === "descending" ? -1 : 1;
    const order = next === "none" ? rows : [...rows].sort((a, b) => compare(key(a, column), key(b, column), sign));
    table.tBodies[0].append(...order);
  };
  const filter = (table, rows) => {
    const line = document.createElement("p");
    line.className = "filter";
    table.parentElement.before(line);
    const box = add(line, "input", { type: "search", placeholder: "filter the rows" });
    box.ariaLabel = "Filter the rows of this table";
    const count = add(line, "span", { textContent: `${rows.length} rows` });
    count.setAttribute("role", "status");
    box.addEventListener("input", () => {
      const words = box.value.toLowerCase().split(/\s+/);
      for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
      count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
    });
  };
  for (const table of document.querySelectorAll("table")) {
    const rows = [...table.tBodies[0].rows];
    const frame = table.parentElement;
    if (frame.scrollWidth > frame.clientWidth) frame.tabIndex = 0;  // the keyboard scrolls it, too
    if (rows.length < 3) continue;
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      if (!head.textContent.trim()) return;
      const button = document.createElement("button");
      button.append(...head.childNodes);
      head.append(button);
      head.ariaSort = "none";
      button.addEventListener("click", () => sort(table, rows, column));
    });
    if (rows.length > 9) filter(table, rows);
  }

  // Photos behind a value: one window for all.
  const dialog = add(document.body, "dialog");
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  const open = (title, photos) => {
    dialog.replaceChildren();
    const id = "dialog-title";
    dialog.setAttribute("aria-labelledby", id);
    add(dialog, "h2", { textContent: title, id });
    add(dialog, "p", { textContent: `${photos.length} shown, the most confident first.` });
    const all = add(dialog, "div", { className: "photos" });
    for (const [caption, address] of photos) {
      const photo = add(all, "figure");
      add(photo, "img", { src: address, alt: "" });
      add(photo, "figcaption", { textContent: caption });
    }
    add(dialog, "button", { textContent: "Close", autofocus: true }).addEventListener("click", () => dialog.close());
    dialog.showModal();
  };

  // Figures: the nearest value to the pointer; left and right walk through them, Enter opens.
  const NEAR = 0.08;  // of the picture's width
  for (const figure of document.querySelectorAll("figure[data-values]")) {
    const values = JSON.parse(figure.dataset.values), photos = JSON.parse(figure.dataset.photos || "{}");
    const frame = figure.firstElementChild;
    const dot = add(frame, "span", { className: "dot", hidden: true });
    const tip = add(frame, "span", { className: "tip", hidden: true });
    tip.setAttribute("role", "status");
    let current = -1;
    const show = (k) => {
      current = k;
      dot.hidden = tip.hidden = k < 0;
      frame.style.cursor = k >= 0 && photos[values[k][3]] ? "pointer" : "";
      if (k < 0) return;
      const [x, y, text, name] = values[k];
      dot.style.left = `${100 * x}%`;
      dot.style.top = `${100 * y}%`;
      tip.textContent = photos[name] ? `${text} (click for photos)` : text;
      tip.style.top = dot.style.top;
      tip.style.left = x < 0.5 ? dot.style.left : "";
      tip.style.right = x < 0.5 ? "" : `${100 * (1 - x)}%`;
    };
    const look = () => photos[values[current]?.[3]] && open(values[current][2], photos[values[current][3]]);
    const nearest = (event) => {
      const box = frame.getBoundingClientRect();
      let best = -1, least = NEAR * box.width;
      values.forEach(([x, y], k) => {
        const far = Math.hypot(event.clientX - box.left - x * box.width, event.clientY - box.top - y * box.height);
        if (far < least) [best, least] = [k, far];
      });
      show(best);
    };
    frame.addEventListener("pointermove", nearest);
    frame.addEventListener("pointerleave", () => show(-1));
    frame.addEventListener("click", (event) => { nearest(event); look(); });
    frame.tabIndex = 0;
    frame.setAttribute("role", "application");
    frame.ariaLabel = `${figure.querySelector("img").alt}. ${values.length} values: the arrow keys read them.`;
    frame.addEventListener("blur", () => show(-1));
    frame.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) show((Math.max(current, step < 0 ? 0 : -1) + step + values.length) % values.length);
      else if (event.key === "Enter") look();
      else if (event.key === "Escape") show(-1);
      else return;
      event.preventDefault();
    });
  }
})();
