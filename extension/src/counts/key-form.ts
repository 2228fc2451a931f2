/** A campaign's figures, for the group: fetched with its API key, which stays in this page's memory. */
import type { Country, Figures, Week } from './charts';
import { shown } from './charts';

interface Row {
  epoch: string;
  geo: string;
  value_noisy: number;
  ci95_low: number;
  ci95_high: number;
}

export function openWithKey(form: HTMLFormElement, draw: (root: ParentNode, figures: Figures) => void): void {
  const table = form.dataset.table ?? '';
  const opened = document.querySelector<HTMLElement>('.opened');
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const key = form.querySelector('input')?.value.trim() ?? '';
    say('One moment …');
    try {
      const [weeks, countries, known] = await Promise.all([
        rows(`/v1/counts?table=${table}&by=epoch&limit=10000`, key),
        rows(`/v1/counts?table=${table}&by=geo&limit=10000`, key),
        inhabitants(`/v1/tables/${table}/countries.csv`, key),
      ]);
      const figures = { weeks: weeks.map(weekOf), ranking: ranked(countries, known) };
      opened?.replaceChildren(...sections(figures));
      if (opened) draw(opened, figures);
      say(weeks.length > 0 ? 'Here they are.' : 'Nothing is released yet.');
    } catch (error) {
      opened?.replaceChildren();
      say(error instanceof Error ? error.message : String(error));
    }
  });

  function say(text: string): void {
    const said = form.querySelector('.said');
    if (said) said.textContent = text;
  }
}

async function ask(path: string, key: string): Promise<Response> {
  const headers = { Authorization: `Bearer ${key}` };
  const response = await fetch(path, { headers, cache: 'no-store', credentials: 'omit' });
  if (response.ok) return response;
  const { title } = (await response.json().catch(() => ({}))) as { title?: string };
  throw new Error(title ?? `The register answered ${response.status}.`);
}

async function rows(path: string, key: string): Promise<Row[]> {
  return ((await (await ask(path, key)).json()) as { rows: Row[] }).rows;
}

/** Returns name and inhabitants by country; the file is ours: no field of it has a comma or a quote. */
async function inhabitants(path: string, key: string): Promise<Map<string, [string, number]>> {
  const lines = (await (await ask(path, key)).text()).trim().split(/\r?\n/).slice(1);
  return new Map(
    lines.map((line) => {
      const [geo = '', name = '', count = ''] = line.split(',');
      return [geo, [name, Number(count)]];
    }),
  );
}

function weekOf(row: Row): Week {
  return { epoch: row.epoch, date: mondayOf(row.epoch), ...figureOf(row) };
}

function ranked(countries: Row[], known: Map<string, [string, number]>): Country[] {
  return countries
    .map((row) => {
      const [name = row.geo, count = 0] = known.get(row.geo) ?? [];
      return { geo: row.geo, name, inhabitants: count, ranked: row.ci95_low > 0 && count > 0, ...figureOf(row) };
    })
    .sort((one, other) => rate(other) - rate(one));
}

function rate({ value, inhabitants, ranked }: Country): number {
  return ranked ? value / inhabitants : -1;
}

function figureOf({ value_noisy, ci95_low, ci95_high }: Row) {
  return { value: value_noisy, low: ci95_low, high: ci95_high };
}

/** ISO 8601: the week with the year's fourth of January is its first. */
function mondayOf(epoch: string): string {
  const [year, week] = epoch.split('-W').map(Number);
  const fourth = new Date(Date.UTC(year ?? 0, 0, 4));
  const days = ((week ?? 1) - 1) * 7 - ((fourth.getUTCDay() + 6) % 7);
  return new Date(fourth.getTime() + days * 86_400_000).toISOString().slice(0, 10);
}

function sections({ weeks, ranking }: { weeks: Week[]; ranking: Country[] }): HTMLElement[] {
  const interval = ({ low, high }: { low: number; high: number }) =>
    `${Math.max(low, 0).toLocaleString('en')} to ${Math.max(high, 0).toLocaleString('en')}`;
  return [
    section(
      'weeks',
      'Registrations by week',
      ['Week', 'Registrations', '95 % interval'],
      weeks.map((week) => [week.epoch, shown(week.value), interval(week)]),
    ),
    section(
      'ranking',
      'By country, per million inhabitants',
      ['Country', 'Registrations', '95 % interval'],
      ranking.map((country) => [country.name, shown(country.value), interval(country)]),
    ),
  ];
}

function section(name: string, title: string, columns: string[], cells: string[][]): HTMLElement {
  const made = element('section', { class: 'figure' });
  const chart = element('div', { class: 'chart', role: 'img', 'aria-label': title, 'data-figure': name });
  const table = element('table', {});
  const head = element('tr', {});
  for (const column of columns) head.append(element('th', { scope: 'col' }, column));
  const body = element('tbody', {});
  for (const row of cells) {
    const line = element('tr', {});
    for (const cell of row) line.append(element('td', {}, cell));
    body.append(line);
  }
  const top = element('thead', {});
  top.append(head);
  table.append(top, body);
  const numbers = element('details', { class: 'numbers' });
  const wide = element('div', { class: 'wide', tabindex: '0', role: 'region', 'aria-label': `${title}, table` });
  wide.append(table);
  numbers.append(element('summary', {}, 'The numbers as a table'), wide);
  made.append(element('h3', {}, title), chart, numbers);
  return made;
}

function element(name: string, attributes: Record<string, string>, text = ''): HTMLElement {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.textContent = text;
  return made;
}
