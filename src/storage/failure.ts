import { StoreError, type StoreFailure } from '../channel/batch.js';

/** SQLSTATE of a database error; undefined when it did not come from the server. */
function sqlState(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : undefined;
}

/** What a failed statement means for what was to be stored. SQLSTATE classes: PostgreSQL manual, appendix A. */
function failureOf(error: unknown): StoreFailure {
  const state = sqlState(error);
  // No answer from the server: the connection was refused, cut or timed out.
  if (state === undefined) return error instanceof Error ? 'unavailable' : 'fault';
  // serialization_failure, deadlock_detected, unique_violation: another transaction was first.
  if (state === '40001' || state === '40P01' || state === '23505') return 'contended';
  switch (state.slice(0, 2)) {
    case '22':
    case '23':
      return 'data';
    // Connection, resources (disk full among them), operator intervention, system error, read-only server.
    case '08':
    case '53':
    case '57':
    case '58':
    case '25':
      return 'unavailable';
    default:
      return 'fault';
  }
}

export function storeError(error: unknown): StoreError {
  return error instanceof StoreError
    ? error
    : new StoreError(failureOf(error), error instanceof Error ? error.message : String(error), { cause: error });
}
