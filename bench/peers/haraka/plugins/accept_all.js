exports.hook_rcpt = (next) => next(OK);
