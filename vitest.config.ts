import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['tests/**/*.test.ts'],
    // Servers that tests share are started by the first test that asks for one, and stopped at the end of the run.
    globalSetup: ['tests/support/servers.ts'],
    setupFiles: ['tests/support/properties.ts'],
    // Processes, not threads: tests send signals, change directories and are measured by what they leave open.
    pool: 'forks',
    // One more than the processors that are usual: many tests wait for servers, most of the time.
    maxWorkers: 3,
    // Modules are loaded once a worker, not once a file: a third of a small file's time. Files keep nothing in them.
    isolate: false,
    // Real servers, on a machine that may be busy.
    testTimeout: 60_000,
    hookTimeout: 120_000,
    teardownTimeout: 60_000,
    sequence: { shuffle: { files: true, tests: true } },
    retry: 0,
    restoreMocks: true,
  },
});
