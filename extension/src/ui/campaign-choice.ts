/** The offer to let the objection count for a consumer group's campaign: off by default, its price in privacy told. */

import type { JoinableCampaign } from '../core/contract.gen';
import { isolated } from '../core/printable';
import { send } from '../platform/send';
import { t, textLanguage } from '../platform/text';
import { actionButton, h, section } from './dom';

export interface CampaignChoice {
  element: HTMLElement;
  chosen(): JoinableCampaign | undefined;
}

/**
 * The register is asked only when the person wants to see the campaigns: until they confirm or look here, nothing has
 * left the browser. `changed` is called when a choice falls away; the person's own choice bubbles as an event.
 */
export function campaignChoice(country: HTMLSelectElement, changed: () => void): CampaignChoice {
  const status = h('p', { role: 'status', class: 'soft small' });
  const options = h('div', { class: 'checks' });
  const price = h('p', { class: 'hint' }, t('campaign_price'));
  const choices = h('fieldset', {}, h('legend', {}, t('campaign_legend')), options);
  const register = new URL(__REGISTER_URL__).host;
  const note = h('p', { class: 'soft small' }, t('campaign_look_text', register));
  const look = actionButton(t('campaign_look'), { work: load, failed: () => say('campaign_unreachable') });
  price.hidden = true;
  choices.hidden = true;
  let running: JoinableCampaign[] | undefined;
  country.addEventListener('change', offer);
  const asking = h('div', { class: 'actions' }, look);
  const element = section(t('campaign_title'), h('p', {}, t('campaign_text')), note, asking, status, price, choices);
  return { element, chosen };

  async function load(): Promise<void> {
    running = await send<JoinableCampaign[]>({ kind: 'ui/campaigns' });
    note.remove();
    asking.remove();
    offer();
    options.querySelector('input')?.focus();
  }

  function say(key: 'campaign_unreachable' | 'campaign_nothing' | undefined): void {
    status.textContent = key ? t(key) : '';
  }

  function offered(): JoinableCampaign[] {
    return (running ?? []).filter(({ countries }) => (countries as string[]).includes(country.value));
  }

  /** A campaign of another country is not kept chosen unseen. */
  function offer(): void {
    if (!running) return;
    const before = chosen()?.slug ?? '';
    const campaigns = offered();
    price.hidden = campaigns.length === 0;
    choices.hidden = campaigns.length === 0;
    say(campaigns.length === 0 ? 'campaign_nothing' : undefined);
    const kept = campaigns.some(({ slug }) => slug === before) ? before : '';
    options.replaceChildren(
      radio('', t('campaign_none'), kept === ''),
      ...campaigns.map((one) => radio(one.slug, campaignName(one), kept === one.slug, one.link)),
    );
    if (kept !== before) changed();
  }

  function chosen(): JoinableCampaign | undefined {
    const value = options.querySelector<HTMLInputElement>('input:checked')?.value;
    return running?.find(({ slug }) => slug === value);
  }
}

/** The group's name for it, in the language of the texts if there is one. */
export function campaignName({ names }: JoinableCampaign): string {
  const inLanguage = (code: string) => names.find(({ language }) => language === code)?.name;
  return isolated(inLanguage(textLanguage()) ?? inLanguage('en') ?? names[0]?.name ?? '');
}

function radio(value: string, label: string, checked: boolean, link?: string): HTMLElement {
  const box = h('input', { type: 'radio', name: 'campaign', value, id: `campaign-${value || 'none'}` });
  box.checked = checked;
  const more =
    link &&
    h('a', { href: link, target: '_blank', rel: 'noopener noreferrer' }, t('campaign_link', new URL(link).host));
  return h('div', { class: 'row' }, h('label', { class: 'check' }, box, h('span', {}, label)), more || '');
}
