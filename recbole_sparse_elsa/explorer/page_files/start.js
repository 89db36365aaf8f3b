// What is shown follows from the address, so that every view can be linked to and gone back to.

const views = {
  users: usersView,
  user: userView,
  items: itemsView,
  segments: segmentsView,
  segment: segmentView,
  dimensions: dimensionsView,
  dimension: dimensionView,
  accuracy: accuracyView,
};
const tabs = {user: "users", items: "users", segment: "segments", dimension: "dimensions"};
let turn = 0;

async function show() {
  const mine = ++turn;
  const [, view, rest] = location.hash.match(/^#?([^/]*)\/?(.*)$/);
  const name = Object.hasOwn(views, view) ? view : "users";
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${tabs[name] ?? name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  main.setAttribute("aria-busy", "true");
  let content;
  try {
    const parts = rest.split(",").filter(Boolean).map(decodeURIComponent);
    content = await views[name](...parts);
  } catch (error) {
    content = [choices([]), h("p", {role: "alert"}, error.message)];
  }
  if (mine !== turn || !content) return;
  main.replaceChildren(...content.filter(Boolean));
  main.setAttribute("aria-busy", "false");
  window.scrollTo(0, 0);
}

async function start() {
  try {
    overview = await ask("overview");
  } catch (error) {
    main.replaceChildren(h("p", {role: "alert"}, error.message));
    return;
  }
  document.getElementById("summary").textContent = [
    plural(overview.n_items, "item"),
    plural(overview.n_users, "user"),
    plural(overview.embedding_size, "latent dimension"),
    `${(overview.n_nonzeros / overview.n_items).toFixed(1)} non-zeros and ${number(
      Math.round(overview.bytes_per_item),
    )} bytes an item`,
    `${number(Number(((overview.bytes_per_item * overview.n_items) / 1e6).toPrecision(2)))} MB`,
    ...Object.entries(overview.figures).map(([name, value]) => `${name} ${decimal(value)}`),
  ].join(" · ");
  document.getElementById("to-accuracy").hidden = !overview.accuracy.length;
  window.addEventListener("hashchange", show);
  await show();
}

start();
