/** The toolbar popup: this page, what waits, and my objections. */
import { browser } from 'wxt/browser';
import type { Screenshot } from '../platform/capture';
import { onChange } from '../platform/changes';
import { send } from '../platform/send';
import { formatDay, t, textLanguage, tName } from '../platform/text';
import type { ObjectionView, PageView, PopupView, QueuedView } from '../platform/views';
import { actionButton, h, practiceBanner, present } from './dom';
import { errorText } from './problems';
import { anchoringText, beforeText, noPictureText, platformAndName, statusChip, waitingItem, warnings } from './states';

const SECOND_LOOK_MS = 500;

export async function showPopup(document: Document): Promise<void> {
  document.documentElement.lang = textLanguage();
  document.title = t('name');
  const content = h('div', {});
  const status = h('p', { role: 'status', class: 'status' });
  const say = (text: string) => {
    status.textContent = text;
  };
  document.body.append(
    ...practiceBanner(),
    h(
      'header',
      { class: 'brand' },
      h('img', { src: '/icons/48.png', alt: '', width: '28', height: '28' }),
      h('h1', {}, t('name')),
    ),
    h('main', {}, content, status),
    h('footer', {}, t('popup_register', new URL(__REGISTER_URL__).host)),
  );

  const [tab] = await browser.tabs.query({ active: true, currentWindow: true });
  if (tab?.incognito) return content.replaceChildren(...privateWindow());
  const tabId = tab?.id ?? 0;
  let page: PageView | undefined;
  const refresh = async (opening: boolean) => {
    const view = await send<PopupView>({ kind: 'ui/popup', tabId, opening });
    page = view.page;
    const focused = document.activeElement?.getAttribute('data-key');
    content.replaceChildren(thisPage(view), ...waiting(view.queue), ...recorded(view.objections));
    // A refresh must not throw the keyboard user back to the top.
    if (focused) content.querySelector<HTMLElement>(`[data-key="${focused}"]`)?.focus();
  };

  function thisPage({ page, draft, before }: PopupView): HTMLElement {
    const { notice } = page;
    const earlier = notice && before[notice.platform];
    const record = button(t('record_my_objection'), 'record', async () => {
      await send({ kind: 'ui/record', tabId });
      window.close();
    });
    record.classList.add('primary', 'wide');
    return h(
      'section',
      { 'aria-labelledby': 'this-page', class: 'panel' },
      h('h2', { id: 'this-page' }, t('popup_this_page')),
      h('p', {}, pageText(page)),
      ...(page.withheld ? access(page.state, page.withheld) : []),
      notice && earlier && h('p', { class: 'hint' }, beforeText(notice.platform, earlier)),
      draft && h('p', { class: 'hint' }, draftText(draft.screenshot)),
      record,
      h('p', { class: 'soft small' }, t('popup_review_first')),
    );
  }

  /** The way back for a site whose access was taken away. */
  function access(state: PageView['state'], { platform, origins }: NonNullable<PageView['withheld']>): HTMLElement[] {
    const on = tName('platform', platform);
    const text = state === 'unseen' ? t('popup_page_access') : t('popup_access_withheld', on);
    const give = button(t('popup_give_access', on), 'access', async () => {
      // At once, while the click counts; Chromium asks in its own way, and tells nothing.
      const given = await browser.permissions.request({ origins }).catch(() => askChromium(tabId));
      say(t(given ? 'popup_access_given' : 'popup_access_asked'));
    });
    return [h('p', { class: 'soft small' }, text), h('div', { class: 'actions' }, give)];
  }

  function waiting(queue: QueuedView[]): HTMLElement[] {
    if (queue.length === 0) return [];
    return [
      h(
        'section',
        { 'aria-labelledby': 'waiting' },
        h('h2', { id: 'waiting' }, t('popup_waiting')),
        h('ul', { class: 'list' }, ...queue.map(queuedItem)),
      ),
    ];
  }

  function queuedItem(queued: QueuedView): HTMLLIElement {
    const { platform, name, signedAt } = queued;
    return h(
      'li',
      {},
      h('p', { class: 'item' }, h('strong', {}, platformAndName(platform, name), ' · ', formatDay(signedAt))),
      ...waitingItem(queued, button),
    );
  }

  function recorded(objections: ObjectionView[]): HTMLElement[] {
    return [
      h(
        'section',
        { 'aria-labelledby': 'objections' },
        h('h2', { id: 'objections' }, t('popup_my_objections')),
        objections.length === 0
          ? h('p', { class: 'soft' }, t('popup_no_objections'))
          : h('ul', { class: 'list' }, ...objections.map(objectionItem)),
      ),
    ];
  }

  function objectionItem(objection: ObjectionView): HTMLLIElement {
    const { receipt, platform, name, receivedAt, status, file, bundleProblem } = objection;
    const save = async () => say(t('saved_as', await send<string>({ kind: 'ui/save', receipt })));
    const words = `${platformAndName(platform, name)} · ${formatDay(receivedAt)}`;
    const title = h('strong', { id: `title-${receipt}` }, words);
    const open = h(
      'a',
      {
        class: 'button',
        href: `/objection.html?receipt=${receipt}`,
        target: '_blank',
        'data-key': `open-${receipt}`,
        'aria-describedby': `title-${receipt}`,
      },
      t('open_objection'),
    );
    return h(
      'li',
      {},
      h('p', { class: 'item' }, title, status !== 'stands' && statusChip(objection)),
      h('p', { class: 'soft' }, stateText(objection)),
      ...present(warnings(objection, button)),
      h(
        'div',
        { class: 'actions' },
        open,
        (!file || bundleProblem) && button(t('save_proof'), `save-${receipt}`, save),
      ),
    );
  }

  function button(label: string, key: string, work: () => Promise<void>): HTMLButtonElement {
    const made = actionButton(label, { work, failed: (error) => say(errorText(error)) });
    made.setAttribute('data-key', key);
    return made;
  }

  const safely = (opening: boolean) => refresh(opening).catch((error: unknown) => say(errorText(error)));
  onChange(() => void safely(false));
  await safely(true);
  // A browser that runs our script only after a click on the icon does so while this opens.
  if (page?.state === 'unseen') setTimeout(() => void safely(false), SECOND_LOOK_MS);
}

function pageText(page: PageView): string {
  const { state, notice, withheld } = page;
  if (notice) return t('popup_notice_found', tName('platform', notice.platform), tName('channel', notice.channel));
  if (state === 'unseen' && withheld) return t('popup_page_unseen', tName('platform', withheld.platform));
  return t(state === 'none' ? 'popup_notice_none' : 'popup_page_elsewhere');
}

async function askChromium(tabId: number): Promise<boolean> {
  await browser.permissions.addHostAccessRequest({ tabId });
  return false;
}

function privateWindow(): HTMLElement[] {
  return [
    h('h2', {}, t('private_title')),
    h('p', {}, t('private_text')),
    h('p', {}, t('private_way')),
    ...(import.meta.env.FIREFOX ? [h('p', { class: 'hint' }, t('private_firefox'))] : []),
  ];
}

function stateText(objection: ObjectionView): string {
  const { status, anchoring, logIndex, changedAt } = objection;
  if (status === 'erased') return t('lead_erased', formatDay(changedAt));
  if (status === 'withdrawn') return t('lead_withdrawn', formatDay(changedAt));
  return anchoring === 'recorded' ? t('state_recorded', String(logIndex)) : anchoringText(objection);
}

function draftText(screenshot: Screenshot['state']): string {
  if (screenshot === 'taken') return t('draft_with_screenshot');
  return screenshot === 'too-large' || screenshot === 'no-room' ? noPictureText(screenshot) : t('draft_open');
}
