import express from 'express';

/** A route that reads the body and answers, and does nothing else: the most a single event a request can be. */
const app = express();
app.post('/v1/events', express.raw({ type: () => true, limit: '32mb' }), (request, response) => {
  response.status(202).json({ results: [{ index: 0, bytes: request.body.length }] });
});
const server = app.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));
