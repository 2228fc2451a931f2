/** The offer to let the objection count for a consumer group's campaign: off by default, its price in privacy told. */
import type { JoinableCampaign } from '../core/contract.gen';
import { send } from '../platform/send';
import { t, textLanguage } from '../platform/text';
import { h, section } from './dom';

export interface CampaignChoice {
  element: HTMLElement;
  chosen(): JoinableCampaign | undefined;
}

/**
 * Hidden until the register names a campaign for the chosen country; where it cannot be asked, nothing is offered and
 * nothing is missing. `changed` is called when what is offered changes; the person's own choice bubbles as an event.
 */
export function campaignChoice(country: HTMLSelectElement, changed: () => void): CampaignChoice {
  const options = h('div', { class: 'checks' });
  const element = section(
    t('campaign_title'),
    h('p', {}, t('campaign_text')),
    h('p', { class: 'hint' }, t('campaign_price')),
    h('fieldset', {}, h('legend', {}, t('campaign_legend')), options),
  );
  element.hidden = true;
  let running: JoinableCampaign[] = [];
  country.addEventListener('change', offer);
  send<JoinableCampaign[]>({ kind: 'ui/campaigns' })
    .then((campaigns) => {
      running = campaigns;
      offer();
    })
    .catch(() => undefined);

  return { element, chosen };

  function offered(): JoinableCampaign[] {
    return running.filter(({ countries }) => (countries as string[]).includes(country.value));
  }

  /** A campaign of another country is not kept chosen unseen. */
  function offer(): void {
    const before = chosen()?.slug;
    const campaigns = offered();
    element.hidden = campaigns.length === 0;
    const kept = campaigns.some(({ slug }) => slug === before) ? before : '';
    options.replaceChildren(
      radio('', t('campaign_none'), kept === ''),
      ...campaigns.map((one) => radio(one.slug, campaignName(one), kept === one.slug, one.link)),
    );
    if (kept !== (before ?? '')) changed();
  }

  function chosen(): JoinableCampaign | undefined {
    const value = options.querySelector<HTMLInputElement>('input:checked')?.value;
    return offered().find(({ slug }) => slug === value);
  }
}

/** The group's name for it, in the language of the texts if there is one. */
export function campaignName({ names }: JoinableCampaign): string {
  const inLanguage = (code: string) => names.find(({ language }) => language === code)?.name;
  return inLanguage(textLanguage()) ?? inLanguage('en') ?? names[0]?.name ?? '';
}

function radio(value: string, label: string, checked: boolean, link?: string): HTMLElement {
  const box = h('input', { type: 'radio', name: 'campaign', value, id: `campaign-${value || 'none'}` });
  box.checked = checked;
  const more =
    link &&
    h('a', { href: link, target: '_blank', rel: 'noopener noreferrer' }, t('campaign_link', new URL(link).host));
  return h('div', { class: 'row' }, h('label', { class: 'check' }, box, h('span', {}, label)), more || '');
}
