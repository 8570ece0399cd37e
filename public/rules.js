/*
 * What makes writing rules quicker: colours, problems while typing, tries without leaving the text, progress. Every page
 * works without it. What is where, pages say by data attributes; see docs/ui.md.
 */

const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const one = (selector, within = document) => within.querySelector(selector);

function element(name, className, text = '') {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

/* Colours: each line by itself, which is as much of YAML as rules are written in. */

const TOKEN =
  /(\s+)|(#.*)|("(?:[^"\\]|\\.)*"?|'(?:[^']|'')*'?|[^\s,[\]{}"'#:](?:[^\s,[\]{}:]|:(?=\S))*)(?=(\s*:(?:\s|$))?)|(.)/gy;

function kindOf(text, isKey) {
  if (isKey) return 'key';
  if (/^["']/.test(text)) return 'string';
  if (/^[-+]?\d+(\.\d+)?([eE][-+]?\d+)?$/.test(text)) return 'number';
  return /^(true|false|null|~)$/.test(text) ? 'word' : 'plain';
}

function piecesOf(line) {
  const pieces = [];
  for (const [whole, , comment, text, colon] of line.matchAll(TOKEN)) {
    const kind = comment ? 'comment' : text ? kindOf(text, colon !== undefined) : 'plain';
    pieces.push([kind, whole]);
  }
  return pieces;
}

/** A line longer than anybody reads stays as it is. */
const MOST_COLOURED = 2_000;

function coloured(line) {
  const shown = element('span', 'line');
  if (line.length > MOST_COLOURED) shown.textContent = line;
  else for (const [kind, text] of piecesOf(line)) shown.append(kind === 'plain' ? text : element('span', kind, text));
  return shown;
}

/** Of a text that is only read as much as is coloured; the rest stays plain. */
const MOST_LINES = 2_000;

for (const shown of all('pre[data-yaml]')) {
  const lines = shown.textContent.split('\n');
  if (lines.length > MOST_LINES) continue;
  shown.classList.add('yaml');
  shown.replaceChildren(...lines.flatMap((line, i) => (i === 0 ? [coloured(line)] : ['\n', coloured(line)])));
}

/*
 * The text that is written: the textarea stays what it is, with its letters invisible, over the same letters in colour.
 * Lines don't wrap, so only those in sight are drawn, however long the text is.
 */

const form = one('[data-rules]');
const text = form && one('[data-text]', form);
let marks = new Map();
let draw = () => undefined;

function dress() {
  const box = one('[data-editor]', form);
  const gutter = element('div', 'gutter');
  const shade = element('div', 'shade yaml');
  const [numbers, letters] = [element('div', 'drawn'), element('div', 'drawn')];
  gutter.append(numbers);
  shade.append(letters);
  for (const drawn of [gutter, shade]) drawn.ariaHidden = 'true';
  box.prepend(gutter, shade);
  box.classList.add('dressed');
  let lines = null;
  draw = () => {
    lines ??= text.value.split('\n');
    const style = getComputedStyle(text);
    const height = Number.parseFloat(style.lineHeight);
    const first = Math.max(0, Math.floor(text.scrollTop / height) - 2);
    const shown = lines.slice(first, first + Math.ceil(text.clientHeight / height) + 4);
    const top = Number.parseFloat(style.paddingTop) + first * height - text.scrollTop;
    const left = Number.parseFloat(style.paddingLeft) - text.scrollLeft;
    gutter.style.width = `${Math.max(2, String(lines.length).length) + 2}ch`;
    numbers.style.transform = `translateY(${top}px)`;
    letters.style.transform = `translate(${left}px, ${top}px)`;
    numbers.replaceChildren(
      ...shown.map((_, i) => element('div', marks.get(first + i + 1) ?? '', String(first + i + 1))),
    );
    letters.replaceChildren(...shown.map((line) => coloured(line === '' ? ' ' : line)));
  };
  text.addEventListener('input', () => {
    lines = null;
    draw();
  });
  text.addEventListener('scroll', draw);
  new ResizeObserver(draw).observe(text);
  draw();
}

/** A new line begins where the one before it does. */
function keepIndentation(event) {
  if (event.key !== 'Enter' || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
  const before = text.value.slice(0, text.selectionStart);
  const line = before.slice(before.lastIndexOf('\n') + 1);
  const indentation = /^ */.exec(line)[0] + (/(^|\s)-? *[^#]*:\s*$/.test(line) ? '  ' : '');
  if (indentation === '') return;
  event.preventDefault();
  // The only way that leaves undoing as it is.
  document.execCommand('insertText', false, `\n${indentation}`);
}

function show(line) {
  text.scrollTop = (line - 1) * Number.parseFloat(getComputedStyle(text).lineHeight) - text.clientHeight / 3;
  text.scrollLeft = 0;
}

function goTo(line, column) {
  const lines = text.value.split('\n');
  const at = Math.min(line, lines.length) - 1;
  const start = lines.slice(0, at).reduce((sum, each) => sum + each.length + 1, 0);
  const place = start + Math.min(column - 1, (lines[at] ?? '').length);
  text.focus();
  text.setSelectionRange(place, place);
  show(line);
}

document.addEventListener('click', (event) => {
  const link = event.target.closest?.('a[data-line]');
  if (!link || !text) return;
  event.preventDefault();
  goTo(Number(link.dataset.line), Number(link.dataset.column));
});

/* Problems, while typing */

const TYPED_MS = 300;
let typed = null;
let asking = false;
let askAgain = false;

function csrf() {
  return form.elements.namedItem('_csrf').value;
}

/** One question at a time: of a long text the answer takes a while, and only the last one counts. */
async function lint() {
  askAgain = asking;
  if (asking) return;
  asking = true;
  const written = text.value;
  const [problems, summary] = await lintOf(written);
  asking = false;
  if (text.value === written) showProblems(problems, summary);
  if (askAgain) lint();
}

async function lintOf(written) {
  if (written.trim() === '') return [[], 'The text is empty.'];
  try {
    const response = await fetch('/v1/rules/lint', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-csrf-token': csrf() },
      body: JSON.stringify({ text: written }),
    });
    const answer = await response.json();
    if (response.ok) return [answer.problems, summaryOf(answer.problems)];
    return [[], `It could not be checked: ${answer.detail}`];
  } catch {
    return [[], 'It could not be checked: the server does not answer.'];
  }
}

function summaryOf(problems) {
  if (problems.length === 0) return 'Nothing is wrong with it.';
  const errors = problems.filter(({ severity }) => severity === 'error').length;
  return [counted(errors, 'problem'), counted(problems.length - errors, 'warning')].filter(Boolean).join(', ');
}

function counted(number, what) {
  return number === 0 ? '' : `${number} ${what}${number === 1 ? '' : 's'}`;
}

function showProblems(problems, summary) {
  const said = one('[data-summary]', form);
  if (said.textContent !== summary) said.textContent = summary;
  const list = element('ol', 'problems');
  list.append(...problems.map(problemRow));
  one('[data-problems]', form).replaceChildren(...(problems.length > 0 ? [list] : []));
  mark(problems.map(({ severity, line }) => [severity === 'error' ? 'bad' : 'wait', line]));
}

function problemRow({ severity, line, column, message }) {
  const row = element('li', severity === 'error' ? 'bad' : 'wait');
  const link = element('a', '', `${line}:${column}`);
  link.href = '#text';
  link.dataset.line = line;
  link.dataset.column = column;
  row.append(element('span', 'hidden', `${severity}: `), link, ` ${message}`);
  return row;
}

/** The worst of a line stands beside it. */
function mark(tones) {
  marks = new Map();
  for (const [tone, line] of tones) if (marks.get(line) !== 'bad') marks.set(line, tone);
  draw();
}

function markShown() {
  mark(
    all('[data-problems] a[data-line]', form).map((link) => [link.closest('li').className, Number(link.dataset.line)]),
  );
}

/* Tries: the page that the form would lead to is asked for, and what is new of it is put here. */

const PARTS = {
  check: ['[data-summary]', '[data-problems]', '[data-difference]'],
  tried: ['[data-result="tried"]', '[data-difference]'],
};

function formBody(button) {
  return new URLSearchParams(new FormData(form, button));
}

function say(what) {
  const said = one('[data-said]', form);
  if (said) said.textContent = what;
}

async function fetchPart(button) {
  const part = button.dataset.part;
  try {
    const response = await fetch(form.action, {
      method: 'POST',
      body: formBody(button),
      headers: { accept: 'text/html' },
    });
    if (response.redirected) {
      complain(part, 'You are no longer signed in. Sign in in another tab, then try again: the text stays here.');
      return;
    }
    if (!response.ok) {
      leave(button);
      return;
    }
    const page = new DOMParser().parseFromString(await response.text(), 'text/html');
    for (const selector of PARTS[part]) one(selector)?.replaceWith(one(selector, page) ?? '');
    if (part === 'check') markShown();
    else one('#tried')?.focus();
  } catch {
    complain(part, 'The server does not answer just now: try again.');
  }
}

function complain(part, what) {
  if (part === 'check') one('[data-summary]', form).textContent = what;
  else failed(one('[data-result="tried"]', form), what);
}

let leaving = false;

/** As it would go without this script. */
function leave(button) {
  leaving = true;
  form.requestSubmit(button);
}

/* Backtest */

let running = null;

function showRunning(shown, within) {
  one('[data-running]', within).hidden = !shown;
}

function showProgress(within, done, total, words) {
  const bar = one('[data-progress]', within);
  if (total === null) bar.removeAttribute('value');
  else {
    bar.max = Math.max(total, 1);
    bar.value = Math.min(done, bar.max);
  }
  one('[data-progress-text]', within).textContent = words;
}

async function* linesOf(response) {
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  let rest = '';
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    const parts = (rest + decoder.decode(next.value, { stream: true })).split('\n');
    rest = parts.pop();
    for (const part of parts) if (part !== '') yield JSON.parse(part);
  }
}

function isLines(response) {
  return response.headers.get('content-type')?.includes('ndjson') ?? false;
}

const TRIES = 5;
const TRY_MS = 1_000;

/** One that was stopped a moment ago, or somebody else's, may still be going on: that has its end soon. */
async function backtestAnswer(body, signal) {
  const headers = { accept: 'application/x-ndjson, application/json' };
  for (let left = TRIES; ; left--) {
    const response = await fetch(form.action, { method: 'POST', body, headers, signal });
    if (response.status !== 429 || left === 1) return response;
    showProgress(form, 0, null, 'Waiting for another one to end …');
    await new Promise((resolve) => setTimeout(resolve, TRY_MS));
  }
}

async function backtest(button) {
  running?.abort();
  const own = new AbortController();
  running = own;
  const from = document.activeElement;
  const result = one('[data-result="tested"]', form);
  result.replaceChildren();
  showProgress(form, 0, null, 'Looking at messages …');
  showRunning(true, form);
  say('The backtest has begun.');
  try {
    const response = await backtestAnswer(formBody(button), own.signal);
    if (!isLines(response)) throw new Error((await response.json()).detail);
    let ended = false;
    for await (const event of linesOf(response)) {
      if (event.event === 'progress') showProgress(form, event.done, event.total, progressText(event));
      if (event.event !== 'page') continue;
      ended = true;
      const page = new DOMParser().parseFromString(event.html, 'text/html');
      result.replaceChildren(...page.body.childNodes);
      say(`The backtest is done: ${one('h3', result)?.textContent ?? ''}`);
      if (document.activeElement === document.body || one('[data-running]', form).contains(document.activeElement))
        one('#tested')?.focus();
    }
    if (!ended) failed(result, 'It was cut off before all messages were looked at. Try again.');
  } catch (error) {
    if (error.name === 'AbortError') {
      if (running === own) failed(result, 'Stopped.');
    } else failed(result, `It did not work: ${error.message}`);
  } finally {
    if (running === own) {
      const stopHadFocus = one('[data-running]', form).contains(document.activeElement);
      running = null;
      showRunning(false, form);
      if (stopHadFocus) (from?.isConnected ? from : button).focus();
    }
  }
}

function progressText({ done, total }) {
  return `${done.toLocaleString('en')} of ${total.toLocaleString('en')}`;
}

function failed(result, what) {
  result.replaceChildren(element('p', 'hint', what));
  say(what);
}

/* The form */

let changed = false;

function onEnter(field, button) {
  field?.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit(one(button, form));
  });
}

/** Several may be ticked, one after another. */
const TICKED_MS = 700;
let filling = null;

/** What a rule made of a message chooses is filled in by itself, unless that would lose what somebody has written since. */
function fillInSoon({ target, currentTarget }) {
  clearTimeout(filling);
  if (target.name !== 'targets' || changed) return;
  filling = setTimeout(() => changed || currentTarget.requestSubmit(), TICKED_MS);
}

function begin() {
  dress();
  markShown();
  if (text.dataset.begin) show(Number(text.dataset.begin));
  text.addEventListener('keydown', keepIndentation);
  text.addEventListener('input', () => {
    changed = true;
    clearTimeout(typed);
    typed = setTimeout(lint, TYPED_MS);
  });
  form.addEventListener('submit', (event) => {
    const button = event.submitter;
    if (!leaving && button?.dataset.part) {
      event.preventDefault();
      fetchPart(button);
    } else if (!leaving && button && 'backtest' in button.dataset) {
      event.preventDefault();
      backtest(button);
    } else leaving = true;
  });
  // Enter does what one is about to do: a message is explained, a reason saves.
  onEnter(form.elements.namedItem('message'), '[data-part="tried"]');
  onEnter(form.elements.namedItem('why'), 'button[value="activate"]');
  one('[data-stop]', form)?.addEventListener('click', () => running?.abort());
  addEventListener('beforeunload', (event) => {
    if (changed && !leaving) event.preventDefault();
  });
  const button = one('[data-backtest]', form);
  const wrong = one('[data-problems] li.bad', form);
  one('[data-like]')?.addEventListener('change', fillInSoon);
  // A rule made of a message is seen at work before anybody saves it.
  if (one('[data-like]') && button && !wrong && !one('#tested')) backtest(button);
}

if (text) begin();

/* Routing what waits and would match: message by message, by the API, with the version that was looked at. */

const matches = one('[data-matches]');
const routeAll = matches && one('[data-route-all]', matches);
/** Decided about at the same time. */
const TOGETHER = 4;

function call(path, body) {
  const headers = { 'content-type': 'application/json', 'x-csrf-token': matches.elements.namedItem('_csrf').value };
  return fetch(path, body === null ? {} : { method: 'POST', headers, body: JSON.stringify(body) });
}

/** What came of one message: done, left as it is and why, or nothing more can be done at all. */
async function routeOne({ message, version, outcome, reason }) {
  const path = `/v1/messages/${message}/${outcome.do === 'close' ? 'close' : 'assign'}`;
  const body = outcome.do === 'close' ? { version, reason } : { version, targets: outcome.targets, reason, hold: 10 };
  try {
    const response = await call(path, body);
    if (response.ok) return { done: true };
    const { detail } = await response.json();
    return [404, 409, 410, 422].includes(response.status) ? { message, left: detail } : { failed: detail };
  } catch {
    return { failed: 'the server does not answer.' };
  }
}

async function pageOfMatches(cursor, rules) {
  const response = await call(`/v1/rules/waiting?limit=50${cursor === null ? '' : `&cursor=${cursor}`}`, null);
  const page = await response.json();
  if (!response.ok) throw new Error(page.detail);
  if (page.rules === rules) return page;
  throw new Error('other rules are in force by now. Load this page again, and look at what they would do.');
}

/** What is under way when somebody stops it is seen through: of each message is known what became of it. */
async function routeEverything() {
  running = new AbortController();
  const { signal } = running;
  const rules = Number(matches.elements.namedItem('rules').value);
  const results = [];
  let looked = 0;
  routeAll.disabled = true;
  showRunning(true, matches);
  one('[data-stop]', matches).focus();
  let end = '';
  try {
    let cursor = null;
    do {
      const page = await pageOfMatches(cursor, rules);
      looked += page.looked;
      for (let i = 0; i < page.items.length && !signal.aborted; i += TOGETHER) {
        results.push(...(await Promise.all(page.items.slice(i, i + TOGETHER).map(routeOne))));
        const failed = results.find((result) => result.failed);
        if (failed) throw new Error(failed.failed);
        const words = `${doneOf(results).toLocaleString('en')} routed, ${looked.toLocaleString('en')} looked at`;
        showProgress(matches, 0, null, words);
      }
      cursor = page.next;
    } while (cursor !== null && !signal.aborted);
    if (signal.aborted) end = ' Stopped: the others wait as before.';
  } catch (error) {
    end = ` Not all: ${error.message}`;
  }
  running = null;
  showRunning(false, matches);
  showRouted(
    doneOf(results),
    results.filter(({ left }) => left !== undefined),
    end,
  );
}

function doneOf(results) {
  return results.filter(({ done }) => done).length;
}

/** As many as anybody reads. */
const LEFT_SHOWN = 100;

function showRouted(done, left, end) {
  const bar = one('[data-routed]');
  const others =
    left.length > 0 ? ` ${counted(left.length, 'message')} left as ${left.length === 1 ? 'it is' : 'they are'}:` : '';
  bar.classList.add(left.length > 0 || end !== '' ? 'warn' : 'ok');
  bar.hidden = false;
  one('[data-routed-text]', bar).textContent = `${counted(done, 'message') || 'Nothing'} routed.${end}${others}`;
  one('[data-left]', bar).replaceChildren(
    ...left.slice(0, LEFT_SHOWN).map(({ message, left: why }) => {
      const link = element('a', '', message);
      link.href = `/messages/${message}`;
      const row = element('li', '', '');
      row.append(link, `: ${why}`);
      return row;
    }),
  );
  matches.hidden = true;
  bar.focus();
}

if (routeAll) {
  routeAll.hidden = false;
  routeAll.addEventListener('click', routeEverything);
  one('[data-stop]', matches).addEventListener('click', () => running?.abort());
}
