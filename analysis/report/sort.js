'use strict';
// Headers of tables become buttons that sort: ascending, descending, as it was.
// A cell counts as the number that it begins with, in a column of numbers, or that it is, in one of
// texts; numbers come before texts, and what is missing comes last both ways.
const STARTS = /^\[?([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)/i;
const WHOLE = /^([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/i;
const NEXT = {none: 'ascending', ascending: 'descending', descending: 'none'};

function keyOf(cell) {
  const text = cell.textContent.trim();
  if (text === '' || text === '-') return {rank: 2, number: 0, text};
  const found = text.match(cell.classList.contains('number') ? STARTS : WHOLE);
  return found ? {rank: 0, number: Number(found[1]), text} : {rank: 1, number: 0, text};
}

function compare(a, b, sign) {
  if (a.rank === 2 || b.rank === 2) return a.rank - b.rank;
  const order = a.rank - b.rank || a.number - b.number ||
    a.text.localeCompare(b.text, 'en', {numeric: true});
  return sign * order;
}

for (const table of document.querySelectorAll('table')) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...header.childNodes);
    header.append(button);
    header.setAttribute('aria-sort', 'none');
    button.addEventListener('click', () => {
      const state = NEXT[header.getAttribute('aria-sort')];
      headers.forEach((other) => other.setAttribute('aria-sort', 'none'));
      header.setAttribute('aria-sort', state);
      const keyed = rows.map((row) => [keyOf(row.cells[column]), row]);
      const sign = state === 'descending' ? -1 : 1;
      if (state !== 'none') keyed.sort(([a], [b]) => compare(a, b, sign));
      body.append(...keyed.map(([, row]) => row));
    });
  });
}
