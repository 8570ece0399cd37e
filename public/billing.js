/*
 * Charts of usage by keyboard: a chart is one stop of Tab, arrows go from bar to bar, and what the bar says is written below it.
 * Without this every bar is a stop.
 */

for (const chart of document.querySelectorAll('[data-bars]')) {
  const bars = [...chart.querySelectorAll('a')];
  const read = chart.parentElement.querySelector('[data-read]');
  const rest = read.textContent;

  function enter(bar) {
    for (const one of bars) one.setAttribute('tabindex', one === bar ? '0' : '-1');
  }
  function say(event) {
    const bar = event.target.closest('a');
    read.textContent = bar ? bar.getAttribute('aria-label') : rest;
  }

  enter(bars.at(-1));
  for (const name of ['focusin', 'mouseover']) chart.addEventListener(name, say);
  for (const name of ['focusout', 'mouseleave']) {
    chart.addEventListener(name, () => {
      read.textContent = rest;
    });
  }
  chart.addEventListener('keydown', (event) => {
    const at = bars.indexOf(event.target.closest('a'));
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: bars.length - 1 }[event.key];
    const bar = bars[to];
    if (!bar || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    enter(bar);
    bar.focus();
  });
}
