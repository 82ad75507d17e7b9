// One page of rows, with its pager. Rows are texts and are written as texts. Arrow keys move, Enter opens, Page Up and
// Page Down turn the page.
export function render({ model }) {
  const root = element("div", "bs-list");
  const table = element("table");
  const head = element("thead");
  const body = element("tbody");
  table.append(head, body);
  table.tabIndex = 0;
  const pager = element("nav");
  const range = element("span", "bs-range");
  range.setAttribute("role", "status");
  const buttons = [
    ["«", "First page", () => 1],
    ["‹", "Previous page", () => model.page - 1],
    ["›", "Next page", () => model.page + 1],
    ["»", "Last page", () => pages()],
  ].map(([sign, label, target]) => {
    const button = element("button", "", sign);
    button.type = "button";
    button.title = label;
    button.setAttribute("aria-label", label);
    button.onclick = () => turn(target());
    return button;
  });
  pager.append(...buttons, range);
  root.append(table, pager);

  const pages = () => Math.max(1, Math.ceil(model.total / model.per_page));
  const turn = (page) => {
    model.page = Math.min(Math.max(1, page), pages());
    showRange();
  };

  let keys = []; // of the rows that are drawn: a click must not mean what came in their place meanwhile
  const choose = (number) => {
    if (number < 0 || number >= keys.length) return;
    model.chosen = keys[number];
    mark();
    body.rows[number].scrollIntoView({ block: "nearest" });
  };

  const mark = () => {
    for (const [number, row] of [...body.rows].entries()) {
      row.setAttribute("aria-selected", keys[number] === model.chosen);
    }
  };

  const showRange = () => {
    const end = (model.page - 1) * model.per_page + model.rows.length;
    const start = (model.page - 1) * model.per_page + 1;
    const number = (value) => value.toLocaleString("en");
    range.textContent = model.rows.length
      ? `${number(start)}–${number(end)} of ${model.total < 0 ? "…" : number(model.total)}${model.note}`
      : model.empty;
    const last = model.total < 0 ? Infinity : pages();
    buttons[0].disabled = buttons[1].disabled = model.page <= 1;
    buttons[2].disabled = buttons[3].disabled = model.page >= last;
  };

  const draw = () => {
    keys = model.keys;
    head.replaceChildren(element("tr"));
    for (const [name, title] of model.columns) {
      const cell = element("th", name, title);
      cell.scope = "col";
      head.rows[0].append(cell);
    }
    table.setAttribute("aria-label", model.label);
    body.replaceChildren(
      ...model.rows.map((cells, number) => {
        const row = element("tr");
        cells.forEach((text, i) => {
          const cell = element("td", model.columns[i][0], text);
          cell.title = text;
          row.append(cell);
        });
        row.onclick = () => choose(number);
        return row;
      }),
    );
    mark();
    showRange();
  };

  table.onkeydown = (event) => {
    const steps = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 };
    const now = keys.indexOf(model.chosen);
    if (event.key in steps) choose(now < 0 ? 0 : now + steps[event.key]);
    else if (event.key === "Home") choose(0);
    else if (event.key === "End") choose(keys.length - 1);
    else if (event.key === "PageDown") turn(model.page + 1);
    else if (event.key === "PageUp") turn(model.page - 1);
    else return;
    event.preventDefault();
  };

  model.on(["rows", "keys", "columns"], draw);
  model.on(["total", "note", "page", "empty"], showRange);
  model.on("chosen", mark);
  draw();
  return root;
}

function element(name, kind = "", text = "") {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  made.textContent = text;
  return made;
}
