// @vitest-environment jsdom
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { browser } from 'wxt/browser';
import { fakeBrowser } from 'wxt/testing/fake-browser';
import english from '../../public/_locales/en/messages.json';
import type { ObjectionReceipt } from '../../src/core/contract.gen';
import { formatBase64, parseJson, sha256Hex, utf8 } from '../../src/core/encoding';
import { type LaterReceipt, verifyLaterPayload } from '../../src/core/later';
import type { UiMessage } from '../../src/platform/messages';
import type { DetailView, LaterView, QueuedView } from '../../src/platform/views';
import { type ObjectionPage, objectionPage } from '../../src/ui/objection-page';
import { built, draftWithScreenshot } from '../support/draft';

const RECEIPT = 'a'.repeat(64);
const HEADER = '{"alg":"ES256"}';
let view: DetailView;
let page: ObjectionPage;
let sent: UiMessage[];

beforeEach(async () => {
  fakeBrowser.reset();
  document.body.replaceChildren();
  const messages: Record<string, { message: string }> = english;
  browser.i18n.getMessage = ((key: string, values: string[] = []) =>
    (messages[key]?.message ?? '').replace(/\$(\d)/g, (_, n) => values[Number(n) - 1] ?? '')) as never;
  browser.i18n.getUILanguage = () => 'en-IE';
  sent = [];
  browser.runtime.sendMessage = (async (message: UiMessage) => {
    sent.push(message);
    if (message.kind === 'ui/keys') return { ok: { pinned: 'a'.repeat(64), shown: 'b'.repeat(64) } };
    return { ok: message.kind === 'ui/present' ? 'token~' : 'file.asice' };
  }) as never;
  // jsdom has dialogs, but not the part that opens them.
  HTMLDialogElement.prototype.showModal = function () {
    this.open = true;
  };
  HTMLDialogElement.prototype.close = function () {
    this.open = false;
    this.dispatchEvent(new Event('close'));
  };
  const { payload } = await built(await draftWithScreenshot());
  view = {
    objection: {
      receipt: RECEIPT,
      platform: 'facebook',
      name: '@ada',
      objectedAt: 1,
      receivedAt: 2,
      logOrigin: 'register.example/log',
      logIndex: 5,
      status: 'stands',
      changedAt: 2,
      anchoring: 'recorded',
      anchoredAt: undefined,
      noClock: false,
      file: 'proof-of-objection/one.asice',
      bundleProblem: undefined,
      checkProblem: undefined,
      asksAgain: true,
    },
    payload: JSON.parse(payload) as ObjectionReceipt,
    header: HEADER,
    later: [],
    queue: [],
    declared: { account: '@ada', person: 'Ada' },
    evidenceBytes: 0,
    leftCampaign: false,
    assurance: 'work',
    kept: 1,
  };
  show();
});

function show(changes: Partial<DetailView> = {}): void {
  page = objectionPage({ ...view, ...changes });
  document.body.replaceChildren(...page.elements);
}

const objection = (changes: Partial<DetailView['objection']>) => ({ objection: { ...view.objection, ...changes } });
const text = () => document.body.textContent ?? '';
const find = (words: string, within: ParentNode = document) =>
  [...within.querySelectorAll('button')].find(({ textContent }) => textContent === words);
const dialog = () => document.querySelector('dialog');
const settled = (check: () => void) => vi.waitFor(check, { timeout: 1000 });
const signedNow = () => sent.flatMap((message) => (message.kind === 'ui/later' ? [message] : []));
const shownPayload = () => [...(dialog()?.querySelectorAll('pre') ?? [])].at(-1)?.textContent ?? '';
const payloadOf = (shown: string): LaterReceipt => verifyLaterPayload(parseJson(utf8(shown)));

async function click(words: string, within?: ParentNode): Promise<void> {
  const button = find(words, within);
  if (!button) throw new Error(`no button: ${words}`);
  button.click();
  await new Promise((resolve) => setTimeout(resolve));
}

async function choose(...files: File[]): Promise<void> {
  const input = document.querySelector('#files') as HTMLInputElement;
  Object.defineProperty(input, 'files', { value: files, configurable: true });
  input.dispatchEvent(new Event('change'));
  await new Promise((resolve) => setTimeout(resolve, 30));
}

describe.each([
  ['Withdraw …', 'Sign and withdraw', 'withdrawal', 'Keep my objection'],
  ['Erase …', 'Sign and erase', 'erasure', 'Do not erase'],
])('%s', (open, sign, kind, keep) => {
  it('signs nothing before the second step, and there exactly what is shown', async () => {
    await click(open);
    expect(dialog()?.textContent).toContain('What remains');
    expect(find(sign)).toBeUndefined();
    await click('Continue');
    const shown = shownPayload();
    expect(payloadOf(shown)).toMatchObject({ kind, objection_sha256: RECEIPT });
    expect(signedNow()).toEqual([]);
    await click(sign);
    await settled(() => expect(signedNow()).toEqual([{ kind: 'ui/later', payload: shown, files: {} }]));
    await settled(() => expect(dialog()).toBeNull());
    expect(text()).toContain('on its way');
  });

  it('can be left at each step, and nothing was signed', async () => {
    await click(open);
    await click(keep);
    expect(dialog()).toBeNull();
    await click(open);
    await click('Continue');
    await click(keep);
    expect(dialog()).toBeNull();
    expect(signedNow()).toEqual([]);
  });

  it('says what went wrong, and signs the same bytes at the next try', async () => {
    const answer = browser.runtime.sendMessage;
    browser.runtime.sendMessage = (async () => ({ error: { code: 'already_withdrawn', message: '' } })) as never;
    await click(open);
    await click('Continue');
    const shown = shownPayload();
    await click(sign);
    await settled(() => expect(dialog()?.querySelector('[role=alert]')?.textContent).toContain('withdrawn already'));
    browser.runtime.sendMessage = answer;
    await click(sign);
    await settled(() => expect(signedNow()[0]?.payload).toBe(shown));
  });
});

describe('what the register refused', () => {
  const refused: QueuedView = {
    ...{ kind: 'supplement', receipt: 'b'.repeat(64), objection: RECEIPT, platform: 'facebook', name: '', signedAt: 3 },
    ...{
      evidence: [],
      state: 'refused',
      problem: undefined,
      nextAttemptAt: 0,
      maySignAgain: false,
      mayKeepUnchecked: false,
      working: false,
    },
  };

  it('is discarded by two clicks', async () => {
    show({ queue: [refused] });
    await click('Discard …');
    expect(sent).toEqual([]);
    await click('Yes, discard it');
    expect(sent).toEqual([{ kind: 'ui/discard', receipt: refused.receipt }]);
  });

  it.each(['held', 'waiting'] as const)('is another matter than what is %s, which cannot be discarded', (state) => {
    show({ queue: [{ ...refused, state }] });
    expect(find('Discard …')).toBeUndefined();
  });
});

describe('other keys of the register', () => {
  const changed = { code: 'register_keys_changed', title: '', detail: '' };

  it.each([
    ['by what waits', () => ({ queue: [held()] })],
    ['by the last question', () => objection({ checkProblem: changed })],
    ['by the last bundle', () => objection({ bundleProblem: changed })],
  ])('are seen %s, and accepted as they were shown', async (_, changes) => {
    show(changes());
    await click('Look at the new keys …');
    expect(dialog()?.textContent).toContain(Array(8).fill('a'.repeat(8)).join(' '));
    expect(dialog()?.textContent).toContain(Array(8).fill('b'.repeat(8)).join(' '));
    expect(sent).toEqual([{ kind: 'ui/keys' }]);
    await click('Accept these keys');
    expect(sent.at(-1)).toEqual({ kind: 'ui/accept-keys', fingerprint: 'b'.repeat(64) });
  });

  const held = (): QueuedView => ({
    ...{ kind: 'withdrawal', receipt: 'b'.repeat(64), objection: RECEIPT, platform: 'facebook', name: '', signedAt: 3 },
    ...{
      evidence: [],
      state: 'held',
      problem: changed,
      nextAttemptAt: 0,
      maySignAgain: false,
      mayKeepUnchecked: false,
      working: false,
    },
  });
});

describe('what is wrong', () => {
  const hints = () => [...document.querySelectorAll('.top .hint')].map(({ textContent }) => textContent);

  it('is said: what the register answered last', () => {
    show(objection({ checkProblem: { code: 'record_not_found', title: '', detail: '' } }));
    expect(hints()).toEqual(['When this browser last asked the register: The register does not know this objection.']);
  });

  it('is said: that a newer proof is not there, though an older one is', () => {
    show(objection({ bundleProblem: { code: 'download_failed', title: '', detail: '' } }));
    expect(hints()).toEqual([expect.stringMatching(/^A newer proof could not be fetched or saved\./)]);
  });

  it('is not said when all is well', () => expect(hints()).toEqual([]));

  it('is not promised away: a browser that does not ask by itself any more says so', () => {
    expect(text()).toContain('this browser asks by itself');
    show(objection({ asksAgain: false }));
    expect(text()).not.toContain('by itself');
    expect(text()).toContain('asks again when you open this page');
  });
});

it('says whether it came with a work proof', () => {
  expect(text()).toContain('It came with a work proof.');
  show({ assurance: 'device' });
  expect(text()).toContain('It came without a work proof');
});

describe('a campaign that was joined', () => {
  const joined = () => ({ payload: { ...view.payload, campaign: 'fair-ai' } });

  it('is named, and can be left', async () => {
    show(joined());
    expect(text()).toContain('Counts for “fair-ai”');
    await click('Leave the campaign');
    await settled(() => expect(sent).toEqual([{ kind: 'ui/leave', receipt: RECEIPT }]));
    expect(text()).toContain('counts for no campaign any more');
    page.update({ ...view, ...joined(), leftCampaign: true });
    expect(text()).toContain('you left it');
    expect(find('Leave the campaign')).toBeUndefined();
  });

  it('is not said to count what came without work', () => {
    show({ ...joined(), assurance: 'device' });
    expect(text()).not.toContain('Counts for');
    expect(text()).toContain('Signed for “fair-ai”. It came without a work proof');
  });

  it('says when it is too late', async () => {
    browser.runtime.sendMessage = (async () => ({ error: { code: 'campaign_not_joined', message: '' } })) as never;
    show(joined());
    await click('Leave the campaign');
    await settled(() => expect(text()).toContain('published already'));
  });

  it('is not mentioned when none was', () => {
    expect(text()).not.toContain('campaign');
  });
});

it('erasing first offers to save the proof', async () => {
  await click('Erase …');
  expect(dialog()?.textContent).toContain('proof-of-objection/one.asice');
  await click('Save the newest proof');
  await settled(() => expect(dialog()?.textContent).toContain('Saved in your downloads folder: file.asice'));
  expect(sent).toEqual([{ kind: 'ui/save', receipt: RECEIPT }]);
});

describe('adding evidence', () => {
  const mail = new File(['From: x\r\n\r\nYes.'], 'Meta’s reply.eml');

  it('sends exactly the files that are listed, under the names and hashes shown', async () => {
    await click('Add evidence …');
    await choose(mail, new File(['note'], 'note.txt'));
    const shown = shownPayload();
    const bytes = utf8('From: x\r\n\r\nYes.');
    const hash = await sha256Hex(bytes);
    expect(dialog()?.textContent).toContain(hash);
    expect(dialog()?.textContent).toContain('Your file: Meta’s reply.eml');
    expect(dialog()?.textContent).toContain('with your address');
    const payload = payloadOf(shown);
    expect(payload.kind === 'supplement' && payload.evidence.map(({ name }) => name)).toEqual([
      'meta-s-reply.eml',
      'note.txt',
    ]);
    await click('Sign and send');
    const files = { 'meta-s-reply.eml': formatBase64(bytes), 'note.txt': formatBase64(utf8('note')) };
    await settled(() => expect(signedNow()).toEqual([{ kind: 'ui/later', payload: shown, files }]));
  });

  it('forgets a file that is removed', async () => {
    await click('Add evidence …');
    await choose(mail, new File(['note'], 'note.txt'));
    document.querySelector<HTMLElement>('[aria-label="Remove meta-s-reply.eml"]')?.click();
    await click('Sign and send');
    await settled(() => expect(Object.keys(signedNow()[0]?.files ?? {})).toEqual(['note.txt']));
    expect(signedNow()[0]?.payload).not.toContain('meta-s-reply');
  });

  it.each([
    ['a file of another kind', [new File(['x'], 'reply.pdf')], 'reply.pdf: Only .eml'],
    ['an empty file', [new File([], 'a.txt')], 'a.txt: The file is empty'],
    ['the same file twice', [mail, mail], 'already'],
    ['too much', ['a', 'b', 'c'].map((one) => new File([one.repeat(4_000_000)], `${one}.txt`)), 'c.txt: All evidence'],
    ['a ninth file', Array.from('123456789', (one) => new File([one], `${one}.txt`)), '9.txt: At most eight'],
  ])('refuses %s, and says which', async (_, files, words) => {
    await click('Add evidence …');
    await choose(...files);
    await settled(() => expect(dialog()?.querySelector('[role=alert]')?.textContent).toContain(words));
  });

  it('signs nothing without a file', async () => {
    await click('Add evidence …');
    await click('Sign and send');
    await settled(() => expect(dialog()?.textContent).toContain('at least one file'));
    expect(signedNow()).toEqual([]);
  });
});

describe('what can be done', () => {
  const waiting = (kind: QueuedView['kind']): QueuedView => ({
    ...{ kind, receipt: 'b'.repeat(64), objection: RECEIPT, platform: 'facebook', name: '', signedAt: 3, evidence: [] },
    ...{
      state: 'waiting',
      problem: undefined,
      nextAttemptAt: 0,
      maySignAgain: false,
      mayKeepUnchecked: false,
      working: false,
    },
  });

  it('says when it is working', () => {
    show({ queue: [waiting('supplement'), { ...waiting('withdrawal'), working: true }] });
    expect(text().split('Doing a little work')).toHaveLength(2);
  });

  it('is to keep a mail that nobody can check, by two clicks', async () => {
    const silent = { code: 'dns_unavailable', title: '', detail: '' };
    show({ queue: [{ ...waiting('supplement'), problem: silent, mayKeepUnchecked: true }] });
    expect(text()).toContain('It has recorded nothing yet; it will be tried again.');
    expect(text()).toContain('After three days it is recorded all the same');
    await click('Keep it without Meta’s signature …');
    expect(dialog()?.textContent).toContain('That cannot be changed later.');
    expect(sent).toEqual([]);
    await click('Yes, keep it without');
    await settled(() => expect(sent).toEqual([{ kind: 'ui/unchecked', receipt: 'b'.repeat(64) }]));
    show({ queue: [waiting('supplement')] });
    expect(find('Keep it without Meta’s signature …')).toBeUndefined();
  });

  it('is everything while it stands', () => {
    for (const words of ['Add evidence …', 'Withdraw …', 'Erase …']) expect(find(words)).toBeDefined();
    expect(find('Remove from this browser …')).toBeUndefined();
  });

  it.each([
    ['withdrawn', () => objection({ status: 'withdrawn' }), ['Add evidence …', 'Erase …'], ['Withdraw …']],
    ['about to be withdrawn', () => ({ queue: [waiting('withdrawal')] }), ['Erase …', 'Try now'], ['Withdraw …']],
    [
      'about to be erased',
      () => ({ queue: [waiting('erasure')] }),
      ['Try now'],
      ['Add evidence …', 'Withdraw …', 'Erase …'],
    ],
    [
      'erased',
      () => objection({ status: 'erased' }),
      ['Save the kept proof', 'Save the acknowledgement', 'Remove from this browser …'],
      ['Add evidence …', 'Withdraw …', 'Erase …', 'Download proof as PDF', 'Make the token'],
    ],
  ])('is less when it is %s', (_, changes, there, gone) => {
    show(changes());
    const visible = (words: string) => find(words)?.closest('[hidden]') === null;
    expect(there.filter((words) => !visible(words))).toEqual([]);
    expect(gone.filter(visible)).toEqual([]);
  });

  it('to remove the copy here takes two clicks', async () => {
    show(objection({ status: 'erased' }));
    await click('Remove from this browser …');
    page.update({ ...view, ...objection({ status: 'erased', file: 'another.asice' }) });
    expect(sent).toEqual([]);
    await click('Yes, remove it for good');
    expect(sent).toEqual([{ kind: 'ui/forget', receipt: RECEIPT }]);
  });
});

describe('an update', () => {
  const SIGNED = {
    ...{
      finding: 'signed' as const,
      domain: 'facebookmail.com',
      selector: 's',
      from: 'facebookmail.com',
      subject: 'Yes',
    },
    ...{ key_sha256: 'e'.repeat(64), known: 'yes' },
  };
  const later: LaterView = {
    kind: 'withdrawal',
    receipt: 'c'.repeat(64),
    receivedAt: 4,
    logIndex: 9,
    evidence: [],
    mails: {},
    remains: [],
    anchoredAt: undefined,
  };

  it('says of each thing whether it is recorded or anchored, and by when', () => {
    const added: LaterView = { ...later, kind: 'supplement' };
    page.update({ ...view, ...objection({ anchoring: 'partly', anchoredAt: 5 }), later: [added] });
    expect(text()).toContain('Anchored: it existed no later than 1 January 1970');
    const [, inHistory] = document.querySelectorAll('.history li');
    expect(inHistory?.textContent).toContain('Recorded');
    page.update({ ...view, ...objection({}), later: [{ ...added, anchoredAt: 86_400 * 31 }] });
    const [, anchored] = document.querySelectorAll('.history li');
    expect(anchored?.textContent).toContain('Anchored: it existed no later than 1 February 1970');
  });

  it('says that a register without an independent clock has none, and not that one is awaited', () => {
    page.update({ ...view, ...objection({ noClock: true, asksAgain: false }) });
    expect(text().split('This register has no independent clock.')).toHaveLength(3);
    expect(text()).not.toContain('Anchored');
    expect(text()).not.toContain('asks');
  });

  it('says what was recorded, once it was', () => {
    expect(text()).not.toContain('your objection is withdrawn');
    page.update({ ...view, ...objection({ status: 'withdrawn', changedAt: 4 }), later: [later] });
    expect(document.querySelector('[role=status].said')?.textContent).toContain('your objection is withdrawn');
    expect(text()).toContain('number 9 in the log');
  });

  it('says whether a mail carries Meta’s own signature, as far as the register saw', () => {
    const mails: LaterView['mails'] = {
      'a.eml': { ...SIGNED, kind: 'confirmation' },
      'b.eml': { finding: 'domain-not-listed', domain: 'list.example', selector: 's' },
      'd.eml': { finding: 'unsigned' },
    };
    const evidence = ['a.eml', 'b.eml', 'c.txt', 'd.eml'].map((name) => ({
      ...{ name, size: 7, sha256: 'e'.repeat(64) },
      media_type: name.endsWith('.eml') ? ('message/rfc822' as const) : ('text/plain' as const),
    }));
    page.update({
      ...view,
      later: [{ ...later, kind: 'supplement', evidence, mails }],
    });
    expect([...document.querySelectorAll('.files .block')].map(({ textContent }) => textContent)).toEqual([
      'The register found a valid signature of facebookmail.com in this mail. By subject and day, the register knows it as Meta’s confirmation of an objection.',
      expect.stringContaining('in the name of list.example. The register does not list this domain'),
      expect.stringContaining('This mail has no signature'),
    ]);
  });

  it('leaves the keyboard where it is and the typed text alone', () => {
    const nonce = document.querySelector('#nonce') as HTMLInputElement;
    nonce.value = 'typed';
    find('Withdraw …')?.focus();
    page.update({ ...view, ...objection({ anchoring: 'anchored', anchoredAt: 5 }) });
    expect(document.activeElement?.textContent).toBe('Withdraw …');
    expect((document.querySelector('#nonce') as HTMLInputElement).value).toBe('typed');
    expect(text()).toContain('Anchored: it existed');
  });
});

describe('showing the token', () => {
  const token = () => document.querySelector('#token') as HTMLTextAreaElement;

  it('opens what is ticked, and nothing by default', async () => {
    await click('Make the token');
    (document.querySelector('#open-person') as HTMLInputElement).click();
    await click('Make the token');
    const asked = sent.map((message) => message.kind === 'ui/present' && message.slots);
    expect(asked).toEqual([[], ['person']]);
    expect(document.querySelector('#open-contact')).toBeNull();
  });

  it('wants both word and name, or neither', async () => {
    (document.querySelector('#nonce') as HTMLInputElement).value = 'n';
    await click('Make the token');
    expect(sent).toEqual([]);
    (document.querySelector('#audience') as HTMLInputElement).value = 'a';
    await click('Make the token');
    expect(sent[0]).toMatchObject({ challenge: { nonce: 'n', audience: 'a' } });
  });

  it('takes the token away when the choice changes', async () => {
    await click('Make the token');
    await settled(() => expect(token().closest('[hidden]')).toBeNull());
    document.querySelector('#open-person')?.dispatchEvent(new Event('input', { bubbles: true }));
    expect(token().closest('[hidden]')).not.toBeNull();
  });
});

it('has a label for every control', async () => {
  await click('Add evidence …');
  for (const control of document.querySelectorAll('input, select, textarea')) {
    expect(control.closest('label')?.textContent || control.getAttribute('aria-label')).toBeTruthy();
  }
});
