let comboboxes = 0;

// A text field with completion: complete(text) gives what there is, as {text, value}, and choose(value) takes one. What
// is chosen already stands in it, and typing replaces it.
function combobox(label, placeholder, complete, choose, chosen = "") {
  const id = `combobox-${++comboboxes}`;
  let options = [],
    active = -1,
    turn = 0,
    timer;
  const list = h("ul", {id: `${id}-list`, role: "listbox", "aria-label": label, hidden: true});
  const input = h("input", {
    id,
    placeholder,
    value: chosen,
    role: "combobox",
    type: "text",
    autocomplete: "off",
    spellcheck: "false",
    "aria-autocomplete": "list",
    "aria-expanded": "false",
    "aria-controls": list.id,
    input: () => {
      clearTimeout(timer);
      timer = setTimeout(offer, 100);
    },
    focus: () => {
      input.select();
      offer();
    },
    // A click sets the cursor, and so would end the selection.
    mouseup: event => {
      if (input.value === chosen) {
        event.preventDefault();
        input.select();
      }
    },
    blur: () => {
      close();
      input.value = chosen;
    },
    keydown: event => {
      if (event.key === "Escape") return close();
      if (list.hidden || !options.length) return;
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        mark((active + (event.key === "ArrowDown" ? 1 : -1) + options.length) % options.length);
      } else if (event.key === "Enter") {
        event.preventDefault();
        take(Math.max(active, 0));
      }
    },
  });
  function close() {
    clearTimeout(timer);
    turn++;
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }
  function mark(place) {
    active = place;
    [...list.children].forEach((option, other) => option.setAttribute("aria-selected", other === place));
    list.children[place].scrollIntoView({block: "nearest"});
    input.setAttribute("aria-activedescendant", list.children[place].id);
  }
  function take(place) {
    input.value = chosen;
    close();
    choose(options[place].value);
  }
  async function offer() {
    const mine = ++turn;
    let found;
    try {
      found = await complete(input.value === chosen ? "" : input.value);
    } catch (error) {
      found = [];
    }
    if (mine !== turn) return;
    options = found;
    active = -1;
    list.replaceChildren(
      ...options.map((option, place) =>
        h(
          "li",
          {
            id: `${id}-${place}`,
            role: "option",
            "aria-selected": "false",
            mousedown: event => {
              event.preventDefault();
              take(place);
            },
          },
          option.text,
        ),
      ),
    );
    if (!options.length) list.append(h("li", {class: "faint"}, "Nothing found"));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
  }
  return h("div", {class: "combobox"}, h("label", {for: id}, label), input, list);
}
