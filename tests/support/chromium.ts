import { type Browser, chromium } from 'playwright-core';
import { askFor } from './ask.js';

/** A headless Chromium, from the machine or from Debian. Close it in `afterAll`. */
export async function launchBrowser(): Promise<Browser> {
  const { path } = await askFor<{ path: string }>('chromium');
  return chromium.launch({
    executablePath: path,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}
