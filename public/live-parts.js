/*
 * Keeps the parts of a page as they are now, without a reload: each that has changed is put in the place of the old one, and
 * whoever stands on a link in it stays there. Parts have a fixed place on the page, so nothing jumps.
 */

const AGAIN_MS = 10_000;

const live = document.querySelector('[data-live]');
let timer;

async function look() {
  try {
    const response = await fetch(live.dataset.live, { headers: { accept: 'text/html' } });
    if (response.ok && !response.redirected) show(new DOMParser().parseFromString(await response.text(), 'text/html'));
  } catch {
    // Offline: asked again in a while.
  }
  wait();
}

const shown = new WeakMap();
for (const part of live?.querySelectorAll('[data-part]') ?? []) shown.set(part, part.innerHTML);

function show(page) {
  const text = live.querySelector('[data-text]');
  const said = page.querySelector('[data-text]');
  // What is read aloud when it changes stays the same element.
  if (said && said.textContent !== text.textContent) text.textContent = said.textContent;
  if (said) text.className = said.className;
  for (const part of live.querySelectorAll('[data-part]')) {
    const now = page.querySelector(`[data-part="${part.dataset.part}"]`);
    // One that came or went would move the others: it is there when the page is loaded again.
    if (!now || now.innerHTML === shown.get(part) || isSelected(part)) continue;
    shown.set(part, now.innerHTML);
    replace(part, now);
  }
}

/** Whoever marks text to copy it keeps what they mark. */
function isSelected(part) {
  const selection = getSelection();
  return selection !== null && !selection.isCollapsed && selection.containsNode(part, true);
}

function replace(part, now) {
  const { activeElement } = document;
  const at = part.contains(activeElement) ? placesOf(part).indexOf(activeElement) : -1;
  const scrolled = [...part.querySelectorAll('.scroll')].map((each) => each.scrollLeft);
  // They come anew with each look.
  for (const time of now.querySelectorAll('[data-ago]')) time.removeAttribute('data-ago');
  part.replaceChildren(...now.childNodes);
  part.querySelectorAll('.scroll').forEach((each, i) => {
    each.scrollLeft = scrolled[i] ?? 0;
  });
  if (at < 0) return;
  const href = activeElement.getAttribute('href');
  const places = placesOf(part);
  const same = (place) => place?.getAttribute('href') === href;
  (same(places[at]) ? places[at] : places.find(same))?.focus({ preventScroll: true });
}

function placesOf(part) {
  return [...part.querySelectorAll('a[href], [tabindex]')];
}

/** Only pages that are seen ask. */
function wait() {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(look, AGAIN_MS);
}

if (live) {
  document.addEventListener('visibilitychange', () => (document.hidden ? clearTimeout(timer) : look()));
  wait();
}
