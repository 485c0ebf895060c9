"use strict";
// Tables that sort and filter, figures that enlarge, and where one is on the page.
{
  const keyOf = (row, column) => {
    const key = row.cells[column].dataset.key;
    const number = Number(key);
    return key === "" ? null : Number.isNaN(number) ? key : number;
  };

  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number"
      ? a - b
      : String(a).localeCompare(String(b), "en", { numeric: true });

  // Rows without a value stand last, whatever the direction.
  const sortBy = (table, header) => {
    const column = header.cellIndex;
    const falling = header.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const body = table.tBodies[0];
    const keyed = [...body.rows].map((row) => [keyOf(row, column), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return falling ? compare(b, a) : compare(a, b);
    });
    body.append(...keyed.map(([, row]) => row));
  };

  const addFilters = (block, table) => {
    const filters = JSON.parse(block.dataset.filters);
    if (!Object.keys(filters).length) return;
    const headers = [...table.tHead.rows[0].cells];
    const controls = element("div", { className: "controls" });
    const count = element("span");
    const selects = Object.entries(filters).map(([name, first]) => {
      const column = headers.findIndex((header) => header.dataset.name === name);
      const values = new Set([...table.tBodies[0].rows].map((row) => row.cells[column].textContent.trim()));
      values.delete("");
      const options = ["", ...[...values].sort((a, b) => compare(a, b))].map((value) =>
        element("option", { value, textContent: value || "all", selected: value === first }),
      );
      const select = element("select", {}, ...options);
      controls.append(element("label", {}, `${name} `, select));
      return [column, select];
    });
    const apply = () => {
      let shown = 0;
      for (const row of table.tBodies[0].rows) {
        row.hidden = selects.some(
          ([column, select]) => select.value && row.cells[column].textContent.trim() !== select.value,
        );
        shown += !row.hidden;
      }
      count.textContent = `${shown} of ${table.tBodies[0].rows.length} rows`;
    };
    for (const [, select] of selects) select.addEventListener("change", apply);
    controls.append(count);
    block.querySelector(".scroll").before(controls);
    apply();
  };

  for (const block of document.querySelectorAll(".table")) {
    const table = block.querySelector("table");
    for (const header of table.tHead.rows[0].cells) {
      header.querySelector("button").addEventListener("click", () => sortBy(table, header));
    }
    addFilters(block, table);
  }

  for (const paper of document.querySelectorAll(".paper")) {
    paper.addEventListener("click", (event) => {
      event.preventDefault();
      paper.classList.toggle("large");
    });
  }

  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) links.get(entry.target.id)?.classList.toggle("here", entry.isIntersecting);
    },
    { rootMargin: "-20% 0px -70% 0px" },
  );
  for (const section of document.querySelectorAll("main > section")) seen.observe(section);
}
