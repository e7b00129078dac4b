// Answers every request with a greeting, and ends in order when it is told to.
import { createServer } from 'node:http';

const target = process.env.TARGET ?? 'World';
const server = createServer((request, response) => {
  console.log(request.method, request.url);
  response.setHeader('Content-Type', 'text/plain; charset=utf-8');
  response.end(`Hello ${target} from Node!\n`);
});
server.listen(process.env.PORT ?? 8080);
process.on('SIGTERM', () => server.close());
