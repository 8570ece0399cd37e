import { connect, consume } from '../consumer.mjs';

/** A target application in a process of its own, so that its processor time can be told: tells when so many have come. */
const connection = await connect(process.argv[2]);
const consumer = await consume(connection, process.argv[3]);
process.on('message', ({ more }) => void consumer.more(more).then(() => process.send({ arrived: consumer.seen() })));
process.send({ ready: true });
