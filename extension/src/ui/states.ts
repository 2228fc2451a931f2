/** In which state an objection or a later receipt is, in the same words everywhere. */

import type { Platform } from '../core/objection';
import { isolated } from '../core/printable';
import type { Screenshot } from '../platform/capture';
import { send } from '../platform/send';
import { formatDay, formatTime, t, tName } from '../platform/text';
import type { Before, ObjectionView, QueuedView } from '../platform/views';
import { againDialog } from './again-dialog';
import { type Child, h } from './dom';
import { discardDialog, uncheckedDialog } from './ending-dialogs';
import { keysDialog } from './keys-dialog';
import { problemText } from './problems';

/** Makes a button with a stable key, by which its successor is found after a refresh. */
export type MakeButton = (label: string, key: string, work: () => Promise<void>) => HTMLButtonElement;

const WAITING = {
  objection: 'state_waiting',
  supplement: 'waiting_supplement',
  withdrawal: 'waiting_withdrawal',
  erasure: 'waiting_erasure',
} as const;

const STATUS = { stands: 'status_stands', withdrawn: 'status_withdrawn', erased: 'status_erased' } as const;

export function statusChip({ status }: ObjectionView): HTMLElement {
  return h('span', { class: status === 'stands' ? 'chip good' : 'chip ended' }, t(STATUS[status]));
}

/** Recorded, and why no more; or anchored, by when. */
export function anchoringText({ anchoring, anchoredAt = 0, noClock, status, asksAgain }: ObjectionView): string {
  if (anchoring === 'recorded') {
    if (status === 'erased') return t('anchor_none');
    if (noClock) return t('anchor_no_clock');
    return t(asksAgain ? 'anchor_pending' : 'anchor_idle');
  }
  return t(anchoring === 'partly' ? 'anchor_partly' : 'anchor_seen', formatTime(anchoredAt));
}

/** What is wrong with an objection that is on record, and what can be done about it. */
export function warnings({ receipt, file, checkProblem, bundleProblem }: ObjectionView, button: MakeButton): Child[] {
  const keysChanged = [checkProblem, bundleProblem].some((problem) => problem?.code === 'register_keys_changed');
  return [
    checkProblem && h('p', { class: 'hint' }, `${t('check_failed')} ${problemText(checkProblem)}`),
    bundleProblem &&
      h('p', { class: 'hint' }, `${t(file ? 'newer_not_saved' : 'not_saved_yet')} ${problemText(bundleProblem)}`),
    keysChanged && h('div', { class: 'actions' }, button(t('look_at_keys'), `keys-${receipt}`, keysDialog)),
  ];
}

/** What an objection is called where several are listed: for another account Meta wants another one. */
export function platformAndName(platform: Platform, name: string): string {
  return name ? `${tName('platform', platform)} (${isolated(name)})` : tName('platform', platform);
}

/** That there is an objection already: a second one is seldom meant. */
export function beforeText(platform: Platform, { recorded, since, name }: Before): string {
  return t(recorded ? 'before_recorded' : 'before_waiting', platformAndName(platform, name), formatDay(since));
}

/** Why there is no picture, and what can be done. */
export function noPictureText(state: Exclude<Screenshot['state'], 'taken'>): string {
  if (state === 'too-large') return t('screenshot_too_large');
  return t(state === 'no-room' ? 'screenshot_no_room' : 'screenshot_how');
}

/** A receipt on its way: what it is, why it is not there yet, and what can be done. */
export function waitingItem(queued: QueuedView, button: MakeButton): HTMLElement[] {
  const { kind, state, problem, nextAttemptAt, mayKeepUnchecked, working } = queued;
  const inTime = state === 'waiting' && problem && nextAttemptAt > Date.now();
  const parts: Child[] = [
    h('p', {}, state === 'waiting' ? t(WAITING[kind]) : t(state === 'held' ? 'state_held' : 'state_refused')),
    problem && h('p', { class: 'soft' }, `${problemText(problem)} (${problem.code})`),
    working && h('p', { class: 'soft small' }, t('working')),
    mayKeepUnchecked && h('p', { class: 'soft small' }, t('unchecked_in_time')),
    inTime && h('p', { class: 'soft small' }, t('next_attempt', formatTime(nextAttemptAt / 1000))),
    h('div', { class: 'actions' }, ...waitingButtons(queued, button)),
  ];
  return parts.filter((part): part is HTMLElement => part instanceof HTMLElement);
}

function waitingButtons({ receipt, state, mayKeepUnchecked, maySignAgain }: QueuedView, button: MakeButton): Child[] {
  const attempt = async () => send<void>({ kind: 'ui/attempt', receipt });
  const discard = async () => discardDialog(receipt);
  const unchecked = async () => uncheckedDialog(receipt);
  return [
    maySignAgain && button(t('sign_again'), `again-${receipt}`, () => againDialog(receipt)),
    state === 'waiting' && button(t('try_now'), `try-${receipt}`, attempt),
    mayKeepUnchecked && button(t('keep_unchecked'), `unchecked-${receipt}`, unchecked),
    state === 'held' && button(t('look_at_keys'), `keys-${receipt}`, keysDialog),
    // Not what is held: the register may have recorded it, under the keys that are in doubt.
    state === 'refused' && button(t('discard'), `discard-${receipt}`, discard),
  ];
}
