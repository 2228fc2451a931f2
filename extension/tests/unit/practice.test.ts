import { describe, expect, it } from 'vitest';
import { isForPractice } from '../../src/core/practice';

// The same as in tests/core/test_practice.py.
describe('whose address is practice', () => {
  it.each([
    'http://127.0.0.1:8000/practice',
    'http://127.0.0.1',
    'https://127.8.9.10:65535/x',
    'http://localhost:8000',
    'http://register.localhost/',
    'http://LOCALHOST',
    'http://[::1]:8000',
  ])('%s is', (address) => expect(isForPractice(address)).toBe(true));

  it.each([
    'https://register.example',
    'https://register.example/practice',
    'http://127.0.0.1.example',
    'http://127.0.0.1@register.example',
    'http://127.0.0.1:8000@register.example/',
    'http://localhost.example',
    'http://notlocalhost',
    'https://register.example/http://127.0.0.1/',
    'http://128.0.0.1',
    'http://10.0.0.1',
    '',
    undefined,
  ])('%s is not', (address) => expect(isForPractice(address)).toBe(false));
});
