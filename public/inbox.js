/*
 * Clearing the inbox by keys: from a message to the next without a page in between, menus that take one key, selections,
 * and all that match at once. Builds on waybill.js. Whatever a key does, it does to the message and the version that are shown.
 */

/* Calls */

class Refused extends Error {}

async function call(path, body) {
  const response = await fetch(path, {
    method: 'POST',
    // What was decided is decided, though the page is left at once.
    keepalive: true,
    headers: { accept: 'application/json', 'content-type': 'application/json', 'x-csrf-token': csrf() },
    body: JSON.stringify(body),
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(answer.detail ?? 'Waybill does not answer as it should: load the page again.');
  return answer;
}

function csrf() {
  return one('input[name="_csrf"]')?.value ?? '';
}

/* Reading: after a decision the next message is there at once */

const HOLD_SECONDS = 10;
const reading = () => one('[data-reading]');

/** The page of the next message, fetched while this one is read. */
let ahead = null;

async function pageAt(href) {
  const response = await fetch(href, { headers: { accept: 'text/html' } });
  if (!response.ok || response.redirected) throw new Error(`${href} answered ${response.status}`);
  return new DOMParser().parseFromString(await response.text(), 'text/html');
}

function lookAhead() {
  const href = reading()?.dataset.next;
  ahead = href ? { href, page: pageAt(href) } : null;
  // Who goes there sees why not.
  ahead?.page.catch(() => undefined);
}

/** Another one may be next by now, or it may have changed. */
async function checkNext() {
  const { id } = reading().dataset;
  try {
    const page = await pageAt(location.href);
    if (reading()?.dataset.id !== id) return;
    const { next } = one('[data-reading]', page)?.dataset ?? {};
    if (next) reading().dataset.next = next;
    else delete reading().dataset.next;
    lookAhead();
  } catch {
    // The next change, or going there, will tell.
  }
}

document.addEventListener('waybill-change', ({ detail }) => {
  const next = ahead && new URL(ahead.href, location.href).pathname.split('/').pop();
  if (next && (detail.more || detail.messages.includes(next))) checkNext();
});

/** Shows the next message in place of this one. */
async function goOn(done) {
  const { href, page } = ahead;
  try {
    show(await page, href);
  } catch {
    await done.sent.catch(() => undefined);
    location.assign(href);
    return;
  }
  sayDone(done);
}

function show(page, href) {
  const main = one('#main');
  main.replaceChildren(...document.adoptNode(one('#main', page)).childNodes);
  document.title = page.title;
  history.pushState(null, '', href);
  for (const time of all('time[data-ago]', main))
    time.dataset.base = String(baseOf(time.textContent) - (performance.now() - loadedAt));
  scrollTo(0, 0);
  main.focus({ preventScroll: true });
  lookAhead();
  listenSoon();
}

addEventListener('popstate', () => location.reload());

let listening;
/** Who goes through messages quickly has none of them open for others. */
function listenSoon() {
  clearTimeout(listening);
  listening = setTimeout(() => {
    stream?.close();
    stream = null;
    listen();
  }, 700);
}

const DID = { assign: 'Assigned', close: 'Closed', snooze: 'Snoozed' };
const UNDO = { assign: ['unassign', 'Take back'], close: ['reopen', 'Reopen'], snooze: ['reopen', 'Bring back'] };

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function linkTo({ id, back }) {
  return element('a', { href: `/messages/${id}?back=${encodeURIComponent(back)}` }, id);
}

/** Says what was done to the message before, and how it is undone; or that it was not done after all. */
function sayDone(done) {
  one('[data-done]')?.remove();
  const line = element('p', {}, `${DID[done.action]}: `, linkTo(done));
  if (done.action === 'assign')
    line.append(' ', element('span', { class: 'hint' }, `Held for ${HOLD_SECONDS} seconds before it goes out.`));
  if (done.action === 'close' && done.body.reason === 'spam') {
    line.append(' ', element('a', { href: `/rules/edit?like=${done.id}&close=spam` }, 'Make a rule of this'));
  }
  const button = element('button', { type: 'button', 'data-undo': '' }, UNDO[done.action][1]);
  const notice = element('div', { class: 'notice ok', role: 'status', 'data-done': '' }, line, button);
  button.addEventListener('click', () => undo(done));
  reading().prepend(notice);
  done.sent.catch((error) => sayNotDone(done, error, notice));
}

function sayNotDone(done, error, instead) {
  const why = error instanceof Refused ? error.message : 'Waybill could not be reached.';
  const notice = element(
    'div',
    { class: 'notice bad', role: 'alert' },
    element('p', {}, linkTo(done), ` is not decided. ${why}`),
  );
  if (instead?.isConnected) instead.replaceWith(notice);
  else (reading() ?? one('#main')).prepend(notice);
}

async function undo(done) {
  try {
    const { version } = await done.sent;
    await call(`/v1/messages/${done.id}/${UNDO[done.action][0]}`, { version });
    location.assign(linkTo(done).href);
  } catch (error) {
    sayNotDone(done, error, one('[data-done]'));
  }
}

/** What a form of the page asks for, as the API takes it; null where something is missing, or the form itself must say it. */
function bodyOf(form, action) {
  const data = new FormData(form);
  const reason = data.get('reason')?.trim() || undefined;
  switch (action) {
    case 'assign':
      // A portion of the message may not do for a target: the page says so in its place.
      if (data.get('portion') || data.has('fields')) return null;
      return data.has('targets') ? { targets: data.getAll('targets'), hold: HOLD_SECONDS } : null;
    case 'close':
      return reason ? { reason } : null;
    case 'snooze':
      return { until: data.get('until') || inHours(Number(data.get('hours'))) };
    default:
      return null;
  }
}

function inHours(hours) {
  return new Date(Date.now() + hours * 3_600_000).toISOString();
}

document.addEventListener('submit', (event) => {
  const form = event.target;
  const action = form.dataset.do;
  const body = action && ahead && reading()?.contains(form) ? bodyOf(form, action) : null;
  // Without a next message the form does what forms do.
  if (!body) return;
  event.preventDefault();
  const { id, back, decided } = reading().dataset;
  if (decided) return;
  reading().dataset.decided = action;
  const version = Number(new FormData(form).get('version'));
  const sent = call(`/v1/messages/${id}/${action}`, { version, ...body });
  goOn({ id, back, action, body, sent });
});

/* Menus that take one key */

/** `typed` takes what is written instead; with nothing written, Enter takes the first option. */
function openMenu(title, options, typed) {
  const menu = element('dialog', { class: 'menu', 'aria-label': title }, element('p', {}, element('b', {}, title)));
  const choose = (run) => {
    menu.close();
    run();
  };
  const list = element('ul', {});
  for (const { key, label, run } of options) {
    const button = element('button', { type: 'button', class: 'quiet' }, element('kbd', {}, key), ` ${label}`);
    button.addEventListener('click', () => choose(run));
    list.append(element('li', {}, button));
  }
  if (options.length > 0) menu.append(list);
  const input = typed && element('input', { maxlength: '2000', 'aria-label': typed.label, placeholder: typed.label });
  if (input) menu.append(input);
  menu.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const written = input?.value.trim() ?? '';
    const option = written === '' && options.find(({ key }) => key === event.key);
    if (option) {
      event.preventDefault();
      choose(option.run);
    } else if (event.key === 'Enter' && (event.target === input || event.target === menu)) {
      event.preventDefault();
      if (written !== '') choose(() => typed.run(written));
      else if (options[0]) choose(options[0].run);
    }
  });
  menu.addEventListener('close', () => menu.remove());
  document.body.append(menu);
  menu.showModal();
  input?.focus();
}

/* What keys do, to the message that is read or to what is selected in the list */

const REASONS = ['nothing to do', 'spam', 'a copy of another message', 'dealt with elsewhere'];

function numbered(labels, run) {
  return labels.map((label, i) => ({ key: String(i + 1), label, run: () => run(label) }));
}

/** The rows that a key is about: those selected, else the one with the focus. */
function rowsMeant() {
  const selected = all('.row', triage).filter((row) => boxOf(row)?.checked);
  if (selected.length > 0) return selected;
  return focusedRow() ? [focusedRow()] : [];
}

/** Whether a key can do this to all that it is about; says what can be done instead. */
function fits(wanted) {
  if (!triage) return true;
  const rows = rowsMeant();
  if (rows.length === 0) {
    say('Go to a message first, with j.');
    return false;
  }
  const other = rows.find((row) => isMessage(row) !== (wanted === 'messages'));
  if (!other) return true;
  const instead = isMessage(other)
    ? 'assign it with a digit, close it with e, snooze it with b'
    : 'a releases it, e discards it';
  say(`${other.dataset.id} is ${isMessage(other) ? 'not in quarantine' : 'in quarantine'}: ${instead}.`);
  return false;
}

/** Fills and sends the form of an action, about the rows that were meant when the key was pressed. */
function submit(action, fields, rows) {
  const form = triage ?? one(`form[data-do="${action}"]`);
  if (!form) {
    say('That can’t be done with it as it stands.');
    return;
  }
  if (rows.some((row) => !row.isConnected)) {
    say('The list has changed meanwhile: choose again.');
    return;
  }
  for (const row of rows) boxOf(row).checked = true;
  if (rows[0]) one('[data-row]', rows[0]).focus();
  for (const [name, value] of Object.entries(fields)) one(`input[name="${name}"]`, form).value = value;
  if (triage) rememberPlace();
  form.requestSubmit(triage ? one(`[data-${action}]`, triage) : undefined);
}

function close() {
  const rows = triage ? rowsMeant() : [];
  if (rows.length > 0 && rows.every((row) => !isMessage(row))) {
    if (!one('[data-discard]', triage)) return say('You may not decide about the quarantine.');
    const discard = (reason) => submit('discard', { reason }, rows);
    return openMenu('Discard', numbered(['not wanted', 'spam'], discard), { label: 'because …', run: discard });
  }
  if (!canDecide() || !fits('messages')) return undefined;
  const run = (reason) => submit('close', { reason }, rows);
  return openMenu('Close', numbered(REASONS, run), { label: 'because …', run });
}

function canDecide() {
  return one('[data-close], form[data-do]') !== null;
}

/** Tomorrow and next week begin at eight, where the reader is. */
function atEight(days) {
  const at = new Date();
  at.setDate(at.getDate() + days);
  at.setHours(8, 0, 0, 0);
  return at.toISOString();
}

function snooze() {
  if (!canDecide() || !fits('messages')) return;
  const toMonday = (8 - new Date().getDay()) % 7 || 7;
  const rows = triage ? rowsMeant() : [];
  const until = (at) => () => submit('snooze', { until: at }, rows);
  openMenu('Snooze', [
    { key: '1', label: '1 hour', run: until(inHours(1)) },
    { key: '2', label: 'tomorrow', run: until(atEight(1)) },
    { key: '3', label: 'next week', run: until(atEight(toMonday)) },
  ]);
}

function spam() {
  if (canDecide() && fits('messages')) submit('close', { reason: 'spam' }, triage ? rowsMeant() : []);
}

function release() {
  if (!triage || !fits('entries')) return;
  if (!one('[data-release]', triage)) return say('You may not decide about the quarantine.');
  const rows = rowsMeant();
  openMenu('Release', [{ key: 'Enter', label: 'let it go on', run: () => submit('release', {}, rows) }]);
}

function note() {
  if (!canDecide() || !fits('messages')) return;
  openMenu('Note', [], { label: 'write, then Enter', run: triage ? noteRow(rowsMeant()[0]) : noteHere });
}

function noteHere(text) {
  const field = one('[data-note]');
  field.value = text;
  field.form.requestSubmit();
}

function noteRow(row) {
  const box = boxOf(row);
  const [id, version] = box.value.split(':');
  return async (reason) => {
    try {
      const made = await call(`/v1/messages/${id}/note`, { version: Number(version), reason });
      // Their own note is no reason to look at it again.
      box.value = `${id}:${made.version}`;
      one('.note', row)?.remove();
      one('.what', row).append(element('span', { class: 'sub note' }, element('b', {}, made.who), `: ${reason}`));
    } catch (error) {
      say(`Not noted. ${error.message}`);
    }
  };
}

/** The last row that was selected: a range goes from there. */
let lastToggled = null;

function toggle(event) {
  const box = boxOf(focusedRow());
  if (!box) return;
  if (event.shiftKey && lastToggled?.isConnected) {
    const rows = all('.row', triage);
    const [from, to] = [rows.indexOf(lastToggled), rows.indexOf(focusedRow())].sort((a, b) => a - b);
    for (const row of rows.slice(from, to + 1)) boxOf(row).checked = true;
  } else box.checked = !box.checked;
  lastToggled = focusedRow();
}

Object.assign(KEYS, {
  x: toggle,
  X: toggle,
  e: close,
  b: snooze,
  '!': spam,
  n: note,
  a: release,
  c: () => one('[data-claim]')?.click(),
  s: () => one('[data-take-suggestion]')?.click(),
});

const wholePage = one('[data-select-page]');
if (wholePage) {
  wholePage.hidden = false;
  one('input', wholePage).addEventListener('change', ({ target }) => {
    for (const row of all('.row', triage)) boxOf(row).checked = target.checked;
  });
}

/* All that match */

const allForm = one('[data-all]');

async function decideAll(form, action) {
  const body = bodyOf(form, action);
  if (!body) return false;
  const stop = new AbortController();
  one('[data-all-stop]').addEventListener('click', () => stop.abort());
  form.hidden = true;
  one('[data-all-progress]').hidden = false;
  const state = { done: 0, left: 0, total: 0 };
  const said = one('[data-all-said]');
  const told = (line) => {
    if (line.event === 'left') {
      state.left++;
      const link = element('a', { href: `/messages/${line.id}` }, line.id);
      one('[data-all-left]').append(element('li', {}, link, `: ${line.why}`));
      return;
    }
    Object.assign(state, line);
    one('[data-all-bar]').max = state.total || 1;
    one('[data-all-bar]').value = line.event === 'result' ? state.total : line.looked;
    said.textContent = sentence(line, state);
    if (line.event === 'result') one('[data-all-stop]').hidden = true;
  };
  try {
    const filter = JSON.parse(form.dataset.filter);
    const asOf = new FormData(form).get('asOf');
    await readLines('/v1/inbox/decide', { filter, asOf, action, ...body }, stop.signal, told);
  } catch (error) {
    one('[data-all-stop]').hidden = true;
    const why = stop.signal.aborted
      ? 'Stopped.'
      : error instanceof Refused
        ? error.message
        : 'The connection was lost.';
    said.textContent = `${why} ${state.done.toLocaleString('en')} were decided, or a few more.`;
  }
  return true;
}

function sentence({ event, more }, { done, total, left }) {
  const counted = `${done.toLocaleString('en')} of ${total.toLocaleString('en')} decided`;
  if (event !== 'result') return `${counted} …`;
  const others = left > 0 ? ` ${left.toLocaleString('en')} had changed meanwhile and were left as they are:` : '';
  return `${counted}.${more ? ' There are more: go back and do it again.' : ''}${others}`;
}

async function readLines(path, body, signal, told) {
  const headers = { 'content-type': 'application/json', 'x-csrf-token': csrf() };
  const response = await fetch(path, { method: 'POST', signal, headers, body: JSON.stringify(body) });
  if (!response.ok) throw new Refused((await response.json().catch(() => ({}))).detail ?? 'It could not be done.');
  let text = '';
  let ended = false;
  const decoder = new TextDecoder();
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    text += decoder.decode(value, { stream: true });
    const lines = text.split('\n');
    text = lines.pop();
    for (const line of lines.map((one) => JSON.parse(one))) {
      told(line);
      ended = line.event === 'result';
    }
  }
  if (!ended) throw new Error('cut off');
}

allForm?.addEventListener('submit', (event) => {
  const action = event.submitter?.value;
  if (!bodyOf(allForm, action)) return;
  event.preventDefault();
  decideAll(allForm, action);
});

lookAhead();
