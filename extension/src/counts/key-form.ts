/** A campaign's figures, for the group: fetched with its API key, which stays in this page's memory. */
import type { Figures } from './charts';

export function openWithKey(form: HTMLFormElement, draw: (root: ParentNode, figures: Figures) => void): void {
  const opened = document.querySelector<HTMLElement>('.opened');
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    say('One moment …');
    try {
      const part = await figuresOf(form.dataset.figures ?? '', form.querySelector('input')?.value.trim() ?? '');
      const data = part.getElementById('figures')?.textContent;
      opened?.replaceChildren(...part.querySelectorAll('.total, .figure'));
      if (opened) draw(opened, JSON.parse(data ?? '{}') as Figures);
      say('Here they are.');
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

/** Returns the figures as this register's own page writes them: what counts as ranked is decided in one place. */
async function figuresOf(path: string, key: string): Promise<Document> {
  const headers = { Authorization: `Bearer ${key}` };
  const response = await fetch(path, { headers, cache: 'no-store', credentials: 'omit' });
  if (response.ok) return new DOMParser().parseFromString(await response.text(), 'text/html');
  const { title } = (await response.json().catch(() => ({}))) as { title?: string };
  throw new Error(title ?? `The register answered ${response.status}.`);
}
