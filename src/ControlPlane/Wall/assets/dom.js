// Elements without markup in strings: whatever a name or an error says goes in as text.

/** An element with attributes (keys), properties (keys with a dot in front), listeners (functions) and children. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) set(element, name, value);
  element.append(...children.flat().filter(child => child !== null && child !== undefined && child !== false));
  return element;
}

function set(element, name, value) {
  if (typeof value === 'function') element.addEventListener(name, value);
  else if (name.startsWith('.')) element[name.slice(1)] = value;
  else if (value === true) element.setAttribute(name, '');
  else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
}

/** Sets a text unless it is that already, so that nothing is laid out again. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

/** Shows a number as text, with its exact value for who reads it by a program; `why` says why there is none. */
export function number(element, value, format, why) {
  text(element, format(value));
  const exact = value === null || value === undefined ? null : String(value);
  if (exact === null) element.removeAttribute('data-value');
  else if (element.dataset.value !== exact) element.dataset.value = exact;
  if (exact === null && why) element.title = why;
  else if (element.hasAttribute('title')) element.removeAttribute('title');
}

/** Sets a sentence, unless it is that already: texts, and numbers as [value, format], which have their exact value. */
export function sentence(element, parts) {
  const said = JSON.stringify(parts.map(part => Array.isArray(part) ? [part[0], part[1](part[0])] : part));
  if (element.said === said) return;
  element.said = said;
  element.replaceChildren(...parts.map(part => Array.isArray(part) ? numeral(...part) : part));
}

/** A number in an element of its own. */
export function numeral(value, format, why, tag = 'span') {
  const element = h(tag, { class: 'number' });
  number(element, value, format, why);
  return element;
}

export function show(element, isShown) {
  if (element.hidden === isShown) element.hidden = !isShown;
}

/** Brings the children of a container to those of a list, by key: `make` once for each, `update` each time. */
export function keyed(container, items, keyOf, make, update) {
  const before = container.keyed ?? new Map();
  const after = new Map();
  let next = container.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    const element = before.get(key) ?? make(item);
    before.delete(key);
    update(element, item);
    after.set(key, element);
    if (element === next) next = next.nextElementSibling;
    else container.insertBefore(element, next);
  }
  for (const gone of before.values()) gone.remove();
  container.keyed = after;
}

/** A table whose head stays; its rows are set with `fill`. Columns: [title, class, explanation]. */
export function table(caption, columns) {
  const head = h('tr', {}, columns.map(([title, kind, about]) => h('th', { scope: 'col', class: kind, title: about }, title)));
  const body = h('tbody');
  const element = h('table', {}, h('caption', { class: 'unseen' }, caption), h('thead', {}, head), body);
  return { element, body };
}

/** Around a table that may be larger than its place; it can be scrolled by keys. */
export const scroll = (element, label) => h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': label }, element);

/** Replaces the rows of a table; each cell is a text, an element, or [value, format, why]. */
export function fill(body, rows, kinds) {
  body.replaceChildren(...rows.map(cells => h('tr', {}, cells.map((cell, column) => {
    const kind = kinds[column];
    if (Array.isArray(cell)) {
      const element = numeral(cell[0], cell[1], cell[2], 'td');
      if (kind) element.classList.add(kind);
      return element;
    }
    return h('td', { class: kind }, cell);
  }))));
}

/** Calls at most once a frame, however often it is asked to. */
export function oncePerFrame(call) {
  let isAsked = false;
  return () => {
    if (isAsked) return;
    isAsked = true;
    requestAnimationFrame(() => {
      isAsked = false;
      call();
    });
  };
}
