// Users

function choices(items, chosenUser = "") {
  const user = combobox(
    "Choose a user",
    "User",
    async text => (await ask("users", [["text", text]])).users.map(token => ({text: token, value: token})),
    token => {
      location.hash = `#user/${encodeURIComponent(token)}`;
    },
    chosenUser,
  );
  if (answers) return h("div", {class: "choices"}, user);
  const item = combobox(
    items.length ? "Add an item" : "… or type in items",
    "Item",
    async text =>
      (await ask("items", [["text", text]])).items.map(found => ({
        text: found.label === found.token ? found.label : `${found.label} (${found.token})`,
        value: found.token,
      })),
    token => {
      location.hash = itemsHash([...items.filter(other => other !== token), token]);
    },
  );
  return h("div", {class: "choices"}, user, item);
}

async function usersView() {
  if (overview.users.length) {
    location.replace(`#user/${encodeURIComponent(overview.users[0])}`);
    return null;
  }
  return [choices([])];
}

async function userView(user) {
  const answer = await ask("user", [["user", user]]);
  const chips = h(
    "ul",
    {class: "chips"},
    answer.history.map(item => h("li", {}, itemLink(item))),
  );
  return [
    choices([], user),
    h("h2", {}, `User ${user}`),
    h(
      "details",
      {open: answer.history.length <= 20},
      h("summary", {}, `History: ${plural(answer.history.length, "item")}`),
      chips,
    ),
    ...profile(answer),
  ];
}

async function itemsView(...tokens) {
  const answer = await ask(
    "history",
    tokens.map(token => ["item", token]),
  );
  const chips = answer.history.map(item =>
    h(
      "li",
      {},
      item.label,
      h(
        "button",
        {
          "aria-label": `Remove ${item.label}`,
          type: "button",
          click: () => {
            const rest = tokens.filter(token => token !== item.token);
            location.hash = rest.length ? itemsHash(rest) : "#users";
          },
        },
        "×",
      ),
    ),
  );
  return [
    choices(tokens),
    h("h2", {}, "A history of your own"),
    h("ul", {class: "chips", id: "history"}, chips),
    answer.unknown.length
      ? h("p", {class: "faint"}, `Unknown to the model, and skipped: ${answer.unknown.join(" · ")}`)
      : null,
    ...profile(answer),
  ];
}

function profile(answer) {
  return [
    h("h2", {}, "Recommendations"),
    answer.recommendations.length ? null : h("p", {}, "No item that is left has a score above 0."),
    h("ol", {class: "recommendations", id: "recommendations"}, answer.recommendations.map(recommendation)),
    h("h2", {}, "Homepage"),
    h(
      "div",
      {id: "homepage"},
      answer.homepage.map(row =>
        h(
          "section",
          {},
          h("h3", {title: row.name}, segmentLink(row.segment)),
          h("p", {class: "faint"}, `affinity ${decimal(row.affinity)}`),
          h(
            "ol",
            {class: "row", tabindex: "0", "aria-label": row.name},
            row.items.map(item =>
              h(
                "li",
                {title: [item.label, item.detail].filter(Boolean).join("\n")},
                h("span", {class: "label"}, itemLink(item)),
                item.detail ? h("span", {class: "faint detail"}, item.detail) : null,
                h("span", {class: "faint"}, item.score.toFixed(3)),
              ),
            ),
          ),
        ),
      ),
    ),
    answer.homepage.length ? null : h("p", {}, "No segment has an item left that the model scores above 0."),
    h("h2", {}, "Active latent dimensions"),
    h(
      "p",
      {class: "faint"},
      "The strongest dimensions of the user, and the weights that the items of the user's best segments have in them.",
      h("span", {class: "key positive"}),
      "positive",
      h("span", {class: "key negative"}),
      "negative; the area is the ",
      "weight, relative to the largest of its row",
      h("span", {class: "key own"}),
      "dimension that defines the segment",
    ),
    plot(width => dimensionsPlot(answer.dimensions, width)),
  ];
}

function recommendation(found) {
  const others = (rest, noun) =>
    rest ? [{name: `${plural(rest.number, "other")}, together`, value: rest.part, isSum: true}] : [];
  return h(
    "li",
    {"data-item": found.token},
    h(
      "details",
      {},
      h(
        "summary",
        {},
        h("span", {class: "score"}, found.score.toFixed(3)),
        found.label,
        h(
          "span",
          {class: "reason"},
          `because of ${found.items
            .filter(item => item.part > 0)
            .slice(0, 2)
            .map(item => item.label)
            .join(" · ")}`,
        ),
      ),
      h(
        "div",
        {class: "parts"},
        h(
          "div",
          {},
          h("h3", {}, "Items of the history"),
          bars([
            ...found.items.map(item => ({name: itemLink(item), value: item.part})),
            ...others(found.other_items),
          ]),
        ),
        h(
          "div",
          {},
          h("h3", {}, "Latent dimensions"),
          bars([
            ...found.dimensions.map(part => ({name: dimensionLink(part), value: part.part})),
            ...others(found.other_dimensions),
          ]),
        ),
        found.segment === null ? null : h("p", {}, "Segment: ", segmentLink(found.segment)),
      ),
    ),
  );
}
