import { expect, test } from 'vitest';
import { configurationReference } from '../../src/config/document.js';

test('docs/configuration.md says what the declarations say (npm run docs writes it)', async () => {
  await expect(configurationReference()).toMatchFileSnapshot('../../docs/configuration.md');
});
