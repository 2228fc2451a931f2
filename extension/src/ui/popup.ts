/** The toolbar popup: this page, what waits, and my objections. */
import { browser } from 'wxt/browser';
import { onChange } from '../platform/changes';
import { send } from '../platform/send';
import { formatDay, formatTime, t, textLanguage, tName } from '../platform/text';
import type { ObjectionView, PopupView, QueuedView } from '../platform/views';
import { actionButton, h } from './dom';
import { errorText, problemText } from './problems';

export async function showPopup(document: Document): Promise<void> {
  document.documentElement.lang = textLanguage();
  document.title = t('name');
  const content = h('div', {});
  const status = h('p', { role: 'status', class: 'status' });
  const say = (text: string) => {
    status.textContent = text;
  };
  document.body.append(
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
  const tabId = tab?.id ?? 0;
  const refresh = async () => {
    const view = await send<PopupView>({ kind: 'ui/popup', tabId });
    const focused = document.activeElement?.getAttribute('data-key');
    content.replaceChildren(thisPage(view), ...waiting(view.queue), ...recorded(view.objections));
    // A refresh must not throw the keyboard user back to the top.
    if (focused) content.querySelector<HTMLElement>(`[data-key="${focused}"]`)?.focus();
  };

  function thisPage({ notice, draft }: PopupView): HTMLElement {
    const record = button(t('record_my_objection'), 'record', async () => {
      await send({ kind: 'ui/record', tabId });
      window.close();
    });
    record.classList.add('primary', 'wide');
    return h(
      'section',
      { 'aria-labelledby': 'this-page', class: 'panel' },
      h('h2', { id: 'this-page' }, t('popup_this_page')),
      h(
        'p',
        {},
        notice
          ? t('popup_notice_found', tName('platform', notice.platform), tName('channel', notice.channel))
          : t('popup_notice_none'),
      ),
      draft && h('p', { class: 'hint' }, draftText(draft.screenshot)),
      record,
      h('p', { class: 'soft small' }, t('popup_review_first')),
    );
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

  function queuedItem({ receipt, platform, objectedAt, state, problem, nextAttemptAt }: QueuedView): HTMLLIElement {
    const actions = h('div', { class: 'actions' });
    if (state === 'waiting') {
      const attempt = async () => send<void>({ kind: 'ui/attempt', receipt });
      actions.append(button(t('try_now'), `try-${receipt}`, attempt));
    }
    if (state === 'held') {
      const accept = async () => send<void>({ kind: 'ui/accept-keys' });
      actions.append(button(t('accept_keys'), `accept-${receipt}`, accept));
    }
    if (state !== 'waiting') {
      const discard = async () => send<void>({ kind: 'ui/discard', receipt });
      actions.append(button(t('discard'), `discard-${receipt}`, discard));
    }
    return h(
      'li',
      {},
      h('p', { class: 'item' }, h('strong', {}, tName('platform', platform)), ' · ', formatDay(objectedAt)),
      h('p', {}, state === 'waiting' ? t('state_waiting') : t(state === 'held' ? 'state_held' : 'state_refused')),
      problem && h('p', { class: 'soft' }, `${problemText(problem)} (${problem.code})`),
      state === 'waiting' &&
        nextAttemptAt > Date.now() &&
        h('p', { class: 'soft small' }, t('next_attempt', formatTime(nextAttemptAt / 1000))),
      actions,
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
    const { receipt, platform, receivedAt, logIndex, token, file, bundleProblem } = objection;
    const save = async () => say(t('saved_as', await send<string>({ kind: 'ui/save', receipt })));
    const copy = async () => {
      await navigator.clipboard.writeText(token);
      say(t('token_copied'));
    };
    return h(
      'li',
      {},
      h('p', { class: 'item' }, h('strong', {}, tName('platform', platform)), ' · ', formatDay(receivedAt)),
      h('p', { class: 'soft' }, t('state_recorded', String(logIndex))),
      !file && bundleProblem && h('p', { class: 'hint' }, `${t('not_saved_yet')} ${problemText(bundleProblem)}`),
      h(
        'div',
        { class: 'actions' },
        button(t(file ? 'save_again' : 'save_proof'), `save-${receipt}`, save),
        button(t('copy_token'), `copy-${receipt}`, copy),
      ),
    );
  }

  function button(label: string, key: string, work: () => Promise<void>): HTMLButtonElement {
    const made = actionButton(label, { work, failed: (error) => say(errorText(error)) });
    made.setAttribute('data-key', key);
    return made;
  }

  onChange(() => void refresh().catch((error: unknown) => say(errorText(error))));
  await refresh().catch((error: unknown) => say(errorText(error)));
}

function draftText(screenshot: 'taken' | 'refused' | 'too-large' | 'not-wanted'): string {
  if (screenshot === 'taken') return t('draft_with_screenshot');
  return t(screenshot === 'too-large' ? 'screenshot_too_large' : 'draft_open');
}
