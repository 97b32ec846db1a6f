"use strict";
// Sort a board by a click on a heading, filter its rows by words, and show what a number means
// where it is touched or focused. The page is complete without this.
const number = cell => {
  const text = cell && (cell.querySelector(".v") || cell).textContent.trim();
  const value = parseFloat(text);
  return Number.isNaN(value) ? null : value;
};
const compare = (a, b, up) =>
  a === null ? (b === null ? 0 : 1) : b === null ? -1 : typeof a === "string"
    ? a.localeCompare(b) * up : (a - b) * up;
for (const table of document.querySelectorAll("table.board")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const lines = [...body.rows];
  heads.forEach((head, at) => {
    const button = document.createElement("button");
    const name = head.firstChild;
    button.type = "button";
    button.title = "sort by this column";
    button.append(name.cloneNode(true));
    head.replaceChild(button, name);
    button.addEventListener("click", () => {
      const first = at === 0 || at === 1 ? "ascending" : "descending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach(one => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const up = order === "ascending" ? 1 : -1;
      const key = row => at === 1 ? row.cells[1].textContent : number(row.cells[at]);
      const rows = lines.filter(row => !row.classList.contains("line"));
      rows.sort((a, b) => compare(key(a), key(b), up));
      const whole = at === 0 && order === "ascending";  // as the page came: with its divisions
      body.replaceChildren(...(whole ? lines : rows));
    });
  });
  const field = document.querySelector(`input[data-for="${table.parentElement.id}"]`);
  const count = document.querySelector(`output[data-for="${table.parentElement.id}"]`);
  if (field) field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of lines) {
      const name = row.cells.length > 1 ? row.cells[1].textContent.toLowerCase() : "";
      row.hidden = !words.every(word => name.includes(word));
      shown += row.hidden || row.classList.contains("line") ? 0 : 1;
    }
    count.textContent = words.length ? `${shown} rows match` : "";
  });
}
const hint = document.getElementById("hint");
document.addEventListener("click", event => {
  const there = event.target.closest("table.b [title]:not(button)");
  hint.textContent = there ? there.title : "";
});
document.addEventListener("keydown", event => {
  if (event.key === "Escape") hint.textContent = "";
});
