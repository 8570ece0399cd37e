import pg from 'pg';
import { StoreError } from '../channel/batch.js';
import { classify } from './pool.js';

/** unique_violation: in a group commit, another process was first with a key that this one's filter did not know. */
const UNIQUE_VIOLATION = '23505';

/** What a failed group commit means for its batch. */
export function storeError(error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new StoreError(failureOf(error), message, { cause: error });
}

function failureOf(error: unknown): StoreError['failure'] {
  if (error instanceof pg.DatabaseError && error.code === UNIQUE_VIOLATION) return 'contended';
  const failure = classify(error);
  return failure === 'repeat' ? 'contended' : failure;
}
