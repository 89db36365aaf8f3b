// Elements. All text goes in as text nodes and attributes, so none of it can become markup.

function make(namespace, name, attributes, children) {
  const element = document.createElementNS(namespace, name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(attribute, value);
    else if (value === true) element.setAttribute(attribute, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(attribute, value);
  }
  element.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined));
  return element;
}

const h = (name, attributes = {}, ...children) => make("http://www.w3.org/1999/xhtml", name, attributes, children);
const s = (name, attributes = {}, ...children) => make("http://www.w3.org/2000/svg", name, attributes, children);
const number = value => value.toLocaleString("en");
const decimal = value => (value < 0 ? "−" : "") + Math.abs(value).toFixed(3);
const signed = value => (value < 0 ? "" : "+") + decimal(value);
const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
const itemsHash = tokens => `#items/${tokens.map(encodeURIComponent).join(",")}`;
const segmentLink = place => h("a", {href: `#segment/${place}`}, overview.segments[place].name);
const dimensionLink = found =>
  h("a", {href: `#dimension/${found.dimension}`}, `${found.dimension}: ${found.name}`);

// An item leads to what is recommended for it alone, unless the page is a file, which does not know that.
const itemLink = item => (answers ? h("span", {}, item.label) : h("a", {href: itemsHash([item.token])}, item.label));

// Rows of a name, a bar and a value; a sum of others has no bar, since it would dwarf those of the parts. Where there
// are negative values, their bars go to the left of a line, and those of positive values to the right.
function bars(rows, {written = decimal, twoSided = rows.some(row => row.value < 0), largest = 0} = {}) {
  largest ||= Math.max(...rows.filter(row => !row.isSum).map(row => Math.abs(row.value)), 1e-12);
  const whole = twoSided ? 50 : 100;
  return h(
    "table",
    {class: "bars"},
    h(
      "tbody",
      {},
      rows.map(row => {
        const bar = h("span", {class: row.value < 0 ? "bar negative" : "bar"});
        const width = Math.min(whole, (whole * Math.abs(row.value)) / largest);
        bar.style.width = `${width}%`;
        if (twoSided) bar.style.marginLeft = `${row.value < 0 ? whole - width : whole}%`;
        return h(
          "tr",
          {},
          h("td", {}, row.name),
          h("td", {class: twoSided ? "two-sided" : null}, row.isSum ? null : bar),
          h("td", {}, written(row.value)),
        );
      }),
    ),
  );
}
