export type EmbeddedFailure =
  /** The directory or a file in it can't be created, read or written. */
  | 'unwritable'
  | 'disk_full'
  /** What lies there is not a whole database. */
  | 'broken'
  /** The database was written by another major version of PostgreSQL. */
  | 'other_version'
  /** This machine lacks something the embedded server needs. */
  | 'unsupported'
  /** PostgreSQL said something else; the message quotes it. */
  | 'failed';

/** The embedded database can't start. The message is for a person: what is wrong, and what to do about it. */
export class EmbeddedFailed extends Error {
  override readonly name = 'EmbeddedFailed';
  constructor(
    readonly code: EmbeddedFailure,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Another running Waybill has this data directory. */
export class DataDirectoryInUse extends Error {
  override readonly name = 'DataDirectoryInUse';
  constructor(
    readonly dataDir: string,
    /** Its process id, where it is known. */
    readonly pid: number | undefined,
  ) {
    const who = pid === undefined ? 'another Waybill' : `another Waybill (process ${pid})`;
    super(`${dataDir} is in use by ${who}. Stop that one first, or set WAYBILL_DATA to another directory.`);
  }
}

/** Turns errors of the file system into a sentence; lets what is one already through. */
export function explainFileError(error: unknown, path: string): Error {
  if (error instanceof EmbeddedFailed || error instanceof DataDirectoryInUse) return error;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  switch (code) {
    case 'ENOSPC':
    case 'EDQUOT':
      return diskFull(path, error);
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new EmbeddedFailed(
        'unwritable',
        `${path} can't be written by this user (${code}). Give it to the user who runs Waybill, or set WAYBILL_DATA to another directory.`,
        { cause: error },
      );
    case 'ENOTDIR':
    case 'ENOENT':
    case 'EEXIST':
      return new EmbeddedFailed(
        'unwritable',
        `${path} is not a directory. Set WAYBILL_DATA to a directory, or to one that can be created.`,
        { cause: error },
      );
    default:
      return error instanceof Error ? error : new Error(String(error));
  }
}

export function diskFull(path: string, cause?: unknown): EmbeddedFailed {
  return new EmbeddedFailed(
    'disk_full',
    `The disk that holds ${path} is full. Free some space and start again; nothing that was acknowledged is lost.`,
    { cause },
  );
}
