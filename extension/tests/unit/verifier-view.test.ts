// @vitest-environment jsdom
/** What the verifier's page says on top: of what is no proof, of a proof for practice, of what was not checked. */
import { describe, expect, it } from 'vitest';
import { ChangedCopy, NOTICED } from '../../src/core/recognise';
import { Report, say } from '../../src/core/reports';
import { reportView, unusableView } from '../../src/verifier/report-view';
import { LANGUAGES, type Language, Speech } from '../../src/verifier/speech';

const SPEECHES = (Object.keys(LANGUAGES) as Language[]).map((language) => new Speech(language));

function viewOf(report: Report, speech: Speech): HTMLElement {
  const checked = { report, name: 'a.asice', sha256: '', checkedAtS: 0, expected: undefined };
  const [status, actions] = [document.createElement('p'), document.createElement('p')];
  return reportView(checked, speech, { status, actions });
}

describe('a copy that a program changed', () => {
  it.each(SPEECHES.map((speech) => [speech.language, speech]))('is answered in %s, with what to do', (_, speech) => {
    for (const noticed of NOTICED) {
      const view = unusableView(new ChangedCopy(noticed, undefined), speech as Speech);
      expect(view.dataset.code).toBe('file_resaved');
      expect(view.textContent).not.toMatch(/[{}]|undefined/);
      expect(view.querySelectorAll('p').length).toBe(2);
    }
  });

  it('is named by the file inside, made harmless', () => {
    const view = unusableView(new ChangedCopy(undefined, 'a\u202e.asice'), new Speech('en'));
    expect(view.textContent).toContain('“a\\u{202e}.asice”');
  });
});

describe('a proof for practice', () => {
  it.each([
    ['en', 'PRACTICE: Not valid'],
    ['de', 'ÜBUNG: Ungültig'],
    ['fr', 'EXERCICE : Non valable'],
  ] as const)('says so in its headline, whatever came out: %s', (language, headline) => {
    const report = new Report();
    expect(viewOf(report, new Speech(language)).querySelector('h2')?.textContent).not.toBe(headline);
    report.facts.practice = true;
    const view = viewOf(report, new Speech(language));
    expect(view.querySelector('h2')?.textContent).toBe(headline);
    expect(view.querySelector('.verdict p')?.textContent).toContain('Meta');
    expect(view.classList).toContain('practice');
  });
});

describe('what was not checked', () => {
  it('is told apart from what failed', async () => {
    const report = new Report();
    await report.check('container', async () => ({ failed: say('unreadable'), code: 'bundle_malformed' }));
    report.unchecked('files', 'log');
    const view = viewOf(report, new Speech('en'));
    expect(view.textContent).toContain('0 passed, 1 failed, 2 not checked, 0 not present');
    expect(view.querySelectorAll('details[open]').length).toBe(1);
    expect(view.querySelector('[data-check=log]')?.textContent).toContain('not checked');
  });
});
