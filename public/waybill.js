/*
 * What makes the pages quicker to use: ages that go on, live updates, keys. Everything works without it.
 * Pages say by data attributes what is where; see docs/ui.md.
 */

const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const one = (selector, within = document) => within.querySelector(selector);

/* Ages */

const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1_000],
];
// The server's clock may be another: what counts is how much time has gone by since the page came.
const loadedAt = performance.now();

function writeAges() {
  const passed = performance.now() - loadedAt;
  for (const time of all('time[data-ago]')) {
    time.dataset.base ??= baseOf(time.textContent);
    const ms = Number(time.dataset.base) + passed;
    const [unit, length] = UNITS.find(([, least]) => ms >= least) ?? UNITS[3];
    const count = Math.floor(ms / length);
    const text = `${count} ${unit}`;
    if (time.textContent !== text) time.textContent = text;
  }
}

function baseOf(text) {
  const [count, unit] = text.trim().split(' ');
  const length = UNITS.find(([name]) => name === unit)?.[1] ?? 0;
  return Number.parseInt(count, 10) * length || 0;
}

setInterval(writeAges, 10_000);

/* Live updates: the page says that there is something new, and changes only when asked to. */

const FULL_PAGE = 50;

const triage = one('[data-triage]');
const freshBar = one('[data-fresh]');
let fresh = null;
let looking = false;
let lookAgain = false;

function showCount(count) {
  for (const mark of all('[data-inbox-count]')) {
    mark.textContent = count.toLocaleString('en');
    mark.classList.toggle('none', count === 0);
  }
}

function shownIds() {
  return new Set(all('.row[data-id]').map((row) => row.dataset.id));
}

/** Looks at the list as it is now, beside the page, and says what has changed. */
async function look() {
  if (looking) {
    lookAgain = true;
    return;
  }
  looking = true;
  try {
    const response = await fetch(triage.dataset.list, { headers: { accept: 'text/html' } });
    if (response.ok && !response.redirected)
      announce(new DOMParser().parseFromString(await response.text(), 'text/html'));
  } catch {
    // Offline: the stream comes back by itself, and then this is asked again.
  } finally {
    looking = false;
  }
  if (lookAgain) {
    lookAgain = false;
    look();
  }
}

function announce(page) {
  const rows = all('.row[data-id]', page);
  const now = new Set(rows.map((row) => row.dataset.id));
  const shown = shownIds();
  const added = rows.filter((row) => !shown.has(row.dataset.id)).length;
  for (const row of all('.row[data-id]')) {
    // Beyond a full page it may only have moved on.
    row.classList.toggle('gone', rows.length < FULL_PAGE && !now.has(row.dataset.id));
    showMarks(row, rows);
  }
  fresh = page;
  const button = one('[data-load]', freshBar);
  button.textContent = `${added} new`;
  freshBar.hidden = added === 0;
}

/** What others say of a row is shown at once: it moves nothing. */
function showMarks(row, rows) {
  const as = rows.find((one) => one.dataset.id === row.dataset.id);
  const [old, marks] = [one('.marks', row), as && one('.marks', as)];
  if (old && marks && old.innerHTML !== marks.innerHTML) old.replaceWith(document.importNode(marks, true));
}

/** Puts the list as it is now in the place of the one shown; what was selected and had the focus keeps that. */
function load() {
  if (one('[data-changed]')) {
    location.reload();
    return;
  }
  if (!fresh || freshBar.hidden) return;
  const before = shownIds();
  const focused = document.activeElement?.closest('.row')?.dataset.id;
  const selected = new Set(all('.row input:checked').map((box) => box.closest('.row').dataset.id));
  const rows = one('[data-rows]', fresh);
  const old = one('[data-rows]') ?? one('.empty', triage);
  old.replaceWith(document.adoptNode(rows));
  for (const row of all('.row[data-id]')) {
    row.classList.toggle('fresh-row', !before.has(row.dataset.id));
    const box = one('input', row);
    if (box) box.checked = selected.has(row.dataset.id);
    if (row.dataset.id === focused) one('[data-row]', row).focus({ preventScroll: true });
  }
  for (const time of all('time[data-ago]', rows))
    time.dataset.base = String(baseOf(time.textContent) - (performance.now() - loadedAt));
  // An empty inbox has no bar to decide with.
  if (!one('.bar', triage) && one('.bar', fresh)) location.reload();
  fresh = null;
  freshBar.hidden = true;
}

/** How full the inbox was when last heard of; the page itself is the first to say. */
let inbox = Number(one('[data-inbox-count]')?.textContent.replace(/\D/g, ''));

function onChange(change) {
  showCount(change.inbox);
  showOpen(change.open);
  const changedBar = one('[data-changed]');
  if (changedBar) {
    document.dispatchEvent(new CustomEvent('waybill-change', { detail: change }));
    if (change.messages.includes(changedBar.dataset.changed)) {
      one('[data-load]', changedBar).textContent = 'This message has changed: show it as it is now';
      changedBar.hidden = false;
    }
    return;
  }
  // Further pages of a list stay as they are.
  if (!triage?.dataset.list) return;
  const shown = shownIds();
  const concerns = change.inbox !== inbox || change.more || change.messages.some((id) => shown.has(id));
  inbox = change.inbox;
  if (concerns) look();
}

/** Who else has which message open. */
function showOpen(open) {
  const me = one('.me .who')?.textContent;
  for (const place of all('[data-open]')) {
    const others = open.filter(({ message, who }) => message === place.dataset.open && who !== me);
    place.textContent = others.length > 0 ? `open by ${others.map(({ who }) => who).join(', ')}` : '';
  }
}

let stream = null;

/** Only pages that are seen listen: browsers open few connections to one server, and each tab would hold one. */
function listen() {
  if (document.hidden) {
    stream?.close();
    stream = null;
  } else if (!stream) {
    // Others see which message or entry is open here, for as long as it is.
    const open = one('[data-reading]')?.dataset.id ?? one('[data-seen]')?.dataset.seen;
    stream = new EventSource(open ? `/v1/stream?open=${open}` : '/v1/stream');
    stream.addEventListener('change', (event) => onChange(JSON.parse(event.data)));
  }
}

if (one('[data-inbox-count]') && 'EventSource' in window) {
  document.addEventListener('visibilitychange', listen);
  listen();
}
document.addEventListener('click', (event) => {
  if (event.target.closest?.('[data-load]')) load();
});

/* Keys */

const dialog = one('#keys');
const PLACE = 'waybill-place';

function rowLinks() {
  return all('[data-row]');
}

function focusedRow() {
  return document.activeElement?.closest('.row');
}

function move(step) {
  const links = rowLinks();
  const at = links.indexOf(focusedRow() ? one('[data-row]', focusedRow()) : document.activeElement);
  const next = links[at < 0 ? (step > 0 ? 0 : links.length - 1) : at + step];
  next?.focus();
  next?.scrollIntoView({ block: 'nearest' });
}

/** The checkbox of a row: its value says which message it is, and which version of it is shown. */
function boxOf(row) {
  return row && one('input[name="messages"], input[name="entries"]', row);
}

/** What is done by key is done to what is selected, else to the row that has the focus. */
function selectFocused() {
  if (!triage || one('.row input:checked', triage)) return;
  const box = boxOf(focusedRow());
  if (box) box.checked = true;
}

/** A rule made of a message begins with the targets that are ticked, assigned or not. */
function takeTargetsAlong({ target }) {
  const link = target.closest?.('[data-rule-of]');
  if (!link) return;
  const address = new URL(link.href);
  address.searchParams.delete('targets');
  for (const box of all('[data-decide] [name="targets"]:checked')) address.searchParams.append('targets', box.value);
  link.href = address.href;
}
document.addEventListener('click', takeTargetsAlong);
document.addEventListener('auxclick', takeTargetsAlong);

function chooseTarget(digit) {
  const box = one(`[data-digit="${digit}"]`);
  if (!box) return;
  if (focusedRow() && !isMessage(focusedRow())) {
    say(`${focusedRow().dataset.id} is in quarantine: a releases it, e discards it.`);
    return;
  }
  selectFocused();
  box.checked = !box.checked;
  if (!triage) one('[data-assign]').focus();
}

function isMessage(row) {
  return row.dataset.need === undefined || row.dataset.need === 'unrouted';
}

/** Says something that is no page's own, for a few seconds. */
function say(text) {
  const line = one('[data-say]');
  if (!line) return;
  line.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => {
    line.textContent = '';
  }, 6000);
}

/** The row that has the focus and those after it, by what they are: where they stand may change meanwhile. */
function rememberPlace() {
  const rows = all('.row[data-id]');
  const at = rows.indexOf(focusedRow());
  if (!triage || at < 0) return;
  const ids = [...rows.slice(at), ...rows.slice(0, at).reverse()].map((row) => row.dataset.id);
  sessionStorage.setItem(PLACE, JSON.stringify(ids));
}

/** After a decision the next row has the focus, so that one key leads on. */
function restorePlace() {
  const ids = JSON.parse(sessionStorage.getItem(PLACE) ?? '[]');
  sessionStorage.removeItem(PLACE);
  if (!triage || !one('[data-done]')) return;
  const rows = new Map(all('.row[data-id]').map((row) => [row.dataset.id, row]));
  const next = ids.map((id) => rows.get(id)).find((row) => row);
  if (next) one('[data-row]', next)?.focus();
}

const KEYS = {
  j: () => move(1),
  k: () => move(-1),
  z: () => one('[data-undo]')?.click(),
  r: load,
  u: () => one('[data-up]')?.click(),
  '/': () => one('[data-search]')?.focus(),
  '?': () => dialog?.showModal(),
};

/** Enter on a row assigns it when targets are chosen; otherwise the link does what links do. */
function assignChosen(event) {
  const onRow = focusedRow() && document.activeElement.matches('[data-row]');
  const nowhere = document.activeElement === document.body || document.activeElement?.id === 'main';
  const scope = triage ?? one('[data-decide]');
  if (!scope || !(onRow || nowhere) || !one('input[name="targets"]:checked', scope)) return;
  event.preventDefault();
  rememberPlace();
  scope.requestSubmit(one('[data-assign]', scope));
}

function isTyping(element) {
  return element?.matches('input:not([type="checkbox"], [type="radio"]), textarea, select') ?? false;
}

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || one('dialog[open]')) return;
  const { key, target } = event;
  if (isTyping(target)) {
    if (key === 'Escape') target.blur();
    if (key === 'Enter' && target.matches('[data-triage] [data-reason]')) {
      event.preventDefault();
      target.form.requestSubmit(one('[data-close]', target.form));
    }
    return;
  }
  if (key === 'Enter') assignChosen(event);
  else if (/^[1-9]$/.test(key)) chooseTarget(key);
  else if (Object.hasOwn(KEYS, key)) {
    event.preventDefault();
    KEYS[key](event);
  }
});

triage?.addEventListener('submit', rememberPlace);
document.addEventListener('click', (event) => {
  if (event.target.closest?.('[data-row]')) rememberPlace();
});

/* Who ticks a field means to send fields. */
document.addEventListener('change', ({ target }) => {
  if (!target.matches('[data-field]:checked')) return;
  one('[data-fields]', target.form).checked = true;
});

/* What was just done is said once: a reload or a bookmark doesn't say it again. */
function forgetDone() {
  const url = new URL(location.href);
  if (!url.searchParams.has('done')) return;
  for (const name of ['done', 'of', 'spam', 'recovered', 'more']) url.searchParams.delete(name);
  history.replaceState(null, '', url);
}

for (const button of all('[data-keys]')) {
  button.hidden = false;
  button.addEventListener('click', () => dialog.showModal());
}
forgetDone();
restorePlace();
