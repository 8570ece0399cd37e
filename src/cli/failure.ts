/** What a command can end with, and with which exit code. */
export const EXIT = { done: 0, failed: 1, usage: 2 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** The command was called wrongly; calling it again in the same way would not help. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** It did not work; the message is a sentence and says what to do, the details are further lines. */
export class Failed extends Error {
  override readonly name = 'Failed';
  constructor(
    /** Stable, lower_snake_case. */
    readonly code: string,
    message: string,
    readonly details: readonly string[] = [],
  ) {
    super(message);
  }
}
