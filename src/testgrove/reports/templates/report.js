"use strict";
for (const pre of document.querySelectorAll(".tail pre")) pre.scrollTop = pre.scrollHeight;
const box = document.getElementById("filter");
if (box) {
  const list = document.getElementById("all-tests");
  const found = document.getElementById("found");
  const rows = Array.from(list.querySelectorAll("tbody tr"), (row) => [row, row.textContent.toLowerCase()]);
  const apply = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const [row, text] of rows) {
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    found.textContent = words.length ? `${shown} of ${rows.length} shown` : "";
    if (words.length) list.open = true;
  };
  box.parentElement.hidden = false;
  box.addEventListener("input", apply);
  apply();
}
