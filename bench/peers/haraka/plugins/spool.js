const { createWriteStream } = require('node:fs');
const { rename } = require('node:fs/promises');
const { join } = require('node:path');

/** Answers OK only when the mail lies on disk under its own name. */
exports.hook_queue = (next, connection) => {
  const { transaction } = connection;
  const path = join(process.env.BENCH_SPOOL, transaction.uuid);
  // `flush` is an fsync before the file is closed.
  const file = createWriteStream(`${path}.new`, { flush: true });
  file.once('error', () => next(DENYSOFT));
  file.once('close', () => {
    rename(`${path}.new`, path).then(
      () => next(OK),
      () => next(DENYSOFT),
    );
  });
  transaction.message_stream.pipe(file);
};
