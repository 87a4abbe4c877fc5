// The door under measurement: Fastify, which adds each webhook to a BullMQ queue. Arguments: port, server's URL, path,
// secret.
import { createHmac, timingSafeEqual } from 'node:crypto'
import Fastify from 'fastify'
import { Queue } from 'bullmq'

const [port, url, path, secret] = process.argv.slice(2)
const server = new URL(url)
const queue = new Queue('deliveries', { connection: { host: server.hostname, port: Number(server.port) } })
const app = Fastify({ logger: false })

function signed (body, claimed) {
  const made = createHmac('sha256', secret).update(body).digest()
  const given = Buffer.from(String(claimed), 'hex')
  return given.length === made.length && timingSafeEqual(given, made)
}

app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => done(null, body))
app.post(path, async (request, reply) => {
  if (!signed(request.body, request.headers['x-voucherify-signature'])) return reply.code(401).send()
  await queue.add('open_delivery', { body: request.body.toString('utf8') })
  return reply.code(202).send({ status: 'stored' })
})
await app.listen({ host: '127.0.0.1', port: Number(port) })
