// Calls the methods of kubo-rpc-client against the proxy at $PROXY; $OTHER is another
// peer's, $PINSVC and $TOKEN a Pinning Service.
import assert from 'node:assert/strict'
import { all, score } from './cases.mjs'

const { create } = await import(process.env.CLIENT)
const ipfs = create({ url: process.env.PROXY + '/api/v0' })
const other = create({ url: process.env.OTHER + '/api/v0' })
const stranger = '/ip4/127.0.0.1/tcp/1/p2p/12D3KooWEqnTdgqHnkkwarSrJjeMP2ZJiADWLYADaNvUb6SQNyPF'
const service = { name: 'ours', endpoint: new URL(process.env.PINSVC), key: process.env.TOKEN }
const text = async (source) => Buffer.concat(await all(source)).toString()
const hello = 'QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN'
const dir = (await all(ipfs.addAll([{ path: 'd/one', content: 'one\n' }, { path: 'd/sub/two', content: 'two\n' }]))).at(-1).cid

const pubsubOff = /experimental pubsub feature not enabled/

const cases = {
  add: async () => assert.equal((await ipfs.add('hello\n')).cid.toString(), hello),
  'add with progress': async () => { let n = 0; await ipfs.add({ path: 'x', content: Buffer.alloc(1 << 20) }, { progress: (b) => { n = b } }); assert.equal(n, 1 << 20) },
  'add onlyHash': async () => assert.equal((await ipfs.add('hello\n', { onlyHash: true })).cid.toString(), hello),
  'add cidVersion': async () => assert.equal((await ipfs.add('hello\n', { cidVersion: 1 })).cid.version, 1),
  'addAll wrapped': async () => assert.equal((await all(ipfs.addAll([{ path: 'a', content: 'a' }], { wrapWithDirectory: true }))).at(-1).path, ''),
  cat: async () => assert.equal(await text(ipfs.cat(hello)), 'hello\n'),
  'cat a part': async () => assert.equal(await text(ipfs.cat(hello, { offset: 1, length: 3 })), 'ell'),
  'cat a path': async () => assert.equal(await text(ipfs.cat(`${dir}/sub/two`)), 'two\n'),
  'cat a directory': async () => assert.rejects(text(ipfs.cat(dir)), /this dag node is a directory/),
  get: async () => assert.ok((await text(ipfs.get(dir))).includes('two\n')),
  ls: async () => assert.deepEqual((await all(ipfs.ls(dir))).map(e => [e.name, e.type]), [['one', 'file'], ['sub', 'dir']]),
  refs: async () => assert.equal((await all(ipfs.refs(dir, { recursive: true }))).length, 3),
  'refs.local': async () => assert.ok((await all(ipfs.refs.local())).length > 3),
  resolve: async () => assert.match(await ipfs.resolve(`/ipfs/${dir}/sub`), /^\/ipfs\/Qm/),
  'block.put, get, stat, rm': async () => {
    const cid = await ipfs.block.put(Buffer.from('a block'))
    assert.equal(Buffer.from(await ipfs.block.get(cid)).toString(), 'a block')
    assert.equal((await ipfs.block.stat(cid)).size, 7)
    assert.equal((await all(ipfs.block.rm(cid)))[0].error, undefined)
  },
  'block.put pinned': async () => { const cid = await ipfs.block.put(Buffer.from('a pinned block'), { pin: true }); assert.equal((await all(ipfs.pin.ls({ paths: [cid] })))[0].type, 'recursive') },
  'dag.put, get, resolve': async () => {
    const cid = await ipfs.dag.put({ a: { b: [1, 2] } })
    assert.deepEqual((await ipfs.dag.get(cid)).value, { a: { b: [1, 2] } })
    assert.equal((await ipfs.dag.get(cid, { path: '/a/b/1' })).value, 2)
    assert.equal((await ipfs.dag.resolve(cid, { path: 'a/b' })).remainderPath, '/a/b')
  },
  'dag.export, import': async () => {
    const car = await all(ipfs.dag.export(dir))
    const [{ root }] = await all(ipfs.dag.import((async function * () { yield * car })()))
    assert.equal(root.cid.toString(), dir.toString())
    assert.equal(root.pinErrorMsg, '')
  },
  'pin.add, ls, rm': async () => {
    const cid = (await ipfs.add('to be pinned', { pin: false })).cid
    assert.equal((await ipfs.pin.add(cid, { name: 'mine' })).toString(), cid.toString())
    const [pin] = (await all(ipfs.pin.ls({ type: 'recursive', names: true }))).filter(p => p.cid.equals(cid))
    assert.equal(pin.name, 'mine')
    assert.equal((await ipfs.pin.rm(cid)).toString(), cid.toString())
    await assert.rejects(ipfs.pin.rm(cid), /not pinned or pinned indirectly/)
    await assert.rejects(all(ipfs.pin.ls({ paths: [cid] })), /is not pinned/)
  },
  'pin.ls direct': async () => assert.deepEqual(await all(ipfs.pin.ls({ type: 'direct' })), []),
  'pin.addAll': async () => assert.equal((await all(ipfs.pin.addAll([dir]))).length, 1),
  'pin.remote.service.ls': async () => assert.deepEqual(await ipfs.pin.remote.service.ls(), []),
  'files.mkdir, write, read': async () => {
    await ipfs.files.mkdir('/rpc/deep', { parents: true })
    await ipfs.files.write('/rpc/f', 'written', { create: true })
    assert.equal(await text(ipfs.files.read('/rpc/f')), 'written')
    assert.equal(await text(ipfs.files.read('/rpc/f', { offset: 1, length: 2 })), 'ri')
  },
  'files.ls': async () => assert.deepEqual((await all(ipfs.files.ls('/rpc'))).map(e => [e.name, e.type]).sort(), [['deep', 'directory'], ['f', 'file']]),
  'files.stat': async () => assert.equal((await ipfs.files.stat('/rpc/f')).size, 7),
  'files.stat of content': async () => assert.equal((await ipfs.files.stat(`/ipfs/${dir}`, { withLocal: true })).local, true),
  'files.stat of nothing': async () => assert.rejects(ipfs.files.stat('/none'), /file does not exist/),
  'files.cp, mv, rm': async () => {
    await ipfs.files.cp(`/ipfs/${hello}`, '/rpc/c')
    await ipfs.files.mv('/rpc/c', '/rpc/m')
    await ipfs.files.rm('/rpc/m')
    await assert.rejects(ipfs.files.stat('/rpc/m'), /file does not exist/)
  },
  'files.flush': async () => assert.ok(await ipfs.files.flush('/')),
  'files.rm a tree': async () => ipfs.files.rm('/rpc', { recursive: true }),
  'key.gen, list, rename, rm': async () => {
    const k = await ipfs.key.gen('rpc', { type: 'ed25519' })
    assert.ok((await ipfs.key.list()).some(x => x.id === k.id))
    assert.equal((await ipfs.key.rename('rpc', 'rpc2')).now, 'rpc2')
    assert.equal((await ipfs.key.rm('rpc2')).id, k.id)
  },
  'name.publish, resolve': async () => {
    const { name } = await ipfs.name.publish(`/ipfs/${dir}`, { allowOffline: true })
    assert.deepEqual(await all(ipfs.name.resolve(name)), [`/ipfs/${dir}`])
  },
  id: async () => assert.ok((await ipfs.id()).agentVersion),
  version: async () => assert.equal((await ipfs.version()).version, '0.42.0'),
  'repo.stat': async () => assert.ok((await ipfs.repo.stat()).numObjects > 3n),
  'repo.version': async () => assert.equal(String(await ipfs.repo.version()), '18'),
  'repo.gc': async () => assert.ok(Array.isArray(await all(ipfs.repo.gc()))),
  'stats.bw': async () => assert.equal(typeof (await all(ipfs.stats.bw()))[0].totalIn, 'bigint'),
  'stats.repo': async () => assert.ok((await ipfs.stats.repo()).repoSize > 0n),
  'stats.bitswap': async () => assert.ok(Array.isArray((await ipfs.stats.bitswap()).peers)),
  'bitswap.wantlist': async () => assert.deepEqual(await ipfs.bitswap.wantlist(), []),
  'swarm.peers': async () => assert.ok((await ipfs.swarm.peers({ verbose: true, identify: true })).length > 0),
  'swarm.addrs': async () => assert.ok((await ipfs.swarm.addrs()).length > 0),
  'swarm.localAddrs': async () => assert.ok((await ipfs.swarm.localAddrs()).length > 0),
  'swarm.connect, failing': async () => assert.rejects(ipfs.swarm.connect('/ip4/127.0.0.1/tcp/1/p2p/12D3KooWEqnTdgqHnkkwarSrJjeMP2ZJiADWLYADaNvUb6SQNyPF'), /failure/),
  ping: async () => { const { peers: [p] } = { peers: await ipfs.swarm.peers() }; assert.ok((await all(ipfs.ping(p.peer, { count: 1 }))).at(-1).success) },
  'bootstrap.list': async () => assert.deepEqual((await ipfs.bootstrap.list()).Peers, []),
  'config.getAll': async () => assert.ok((await ipfs.config.getAll()).Identity.PeerID),
  'config.get': async () => assert.ok(await ipfs.config.get('Addresses.API')),
  commands: async () => assert.equal((await ipfs.commands()).Name, 'ipfs'),
  isOnline: async () => assert.equal(await ipfs.isOnline(), true),
  'bitswap.stat': async () => assert.ok((await ipfs.bitswap.stat()).blocksReceived >= 0n),
  'bitswap.wantlistForPeer': async () => assert.deepEqual(await ipfs.bitswap.wantlistForPeer((await other.id()).id), []),
  'bootstrap.add': async () => assert.equal((await ipfs.bootstrap.add(stranger)).Peers.length, 1),
  'bootstrap.rm': async () => assert.equal((await ipfs.bootstrap.rm(stranger)).Peers.length, 1),
  'config.set': async () => { await ipfs.config.set('Datastore.GCPeriod', '2h'); assert.equal(await ipfs.config.get('Datastore.GCPeriod'), '2h') },
  'config.replace': async () => ipfs.config.replace(await ipfs.config.getAll()),
  'config.profiles.apply': async () => assert.ok((await ipfs.config.profiles.apply('lowpower')).updated),
  'dht.query': async () => assert.ok(Array.isArray(await all(ipfs.dht.query((await other.id()).id)))),
  'diag.cmds': async () => assert.ok(Array.isArray(await ipfs.diag.cmds())),
  'diag.net, gone from Kubo': async () => assert.rejects(ipfs.diag.net(), /404/),
  'diag.sys': async () => assert.ok(await ipfs.diag.sys()),
  'key.import': async () => {
    const pem = '-----BEGIN ENCRYPTED PRIVATE KEY-----\n-----END ENCRYPTED PRIVATE KEY-----\n'
    await assert.rejects(ipfs.key.import('imported', pem, 'password'), (e) => !/404/.test(e.message))
  },
  'log.ls': async () => assert.ok((await ipfs.log.ls()).length > 0),
  'log.level': async () => assert.match((await ipfs.log.level('*', 'error')).message, /Changed log level/),
  'log.tail': async () => { const tail = ipfs.log.tail({ timeout: 1000 }); try { await tail.next() } catch (e) { assert.match(e.message + e.name, /timeout|abort/i) } },
  'name.pubsub.state': async () => assert.equal((await ipfs.name.pubsub.state()).enabled, false),
  'name.pubsub.subs, off in Kubo': async () => assert.rejects(ipfs.name.pubsub.subs(), /IPNS pubsub subsystem is not enabled/),
  'name.pubsub.cancel, off in Kubo': async () => { const [{ id }] = await ipfs.key.list(); await assert.rejects(ipfs.name.pubsub.cancel(id), /IPNS pubsub subsystem is not enabled/) },
  'object.patch.addLink': async () => ipfs.object.patch.addLink(dir, { Name: 'x', Hash: (await ipfs.add('x')).cid, Tsize: 1 }),
  'object.patch.rmLink': async () => ipfs.object.patch.rmLink(dir, { Name: 'one' }),
  'pin.update': async () => {
    const [from, to] = await Promise.all([ipfs.add('from'), ipfs.add('to', { pin: false })])
    assert.deepEqual((await ipfs.pin.update(from.cid, to.cid)).map(String), [from.cid, to.cid].map(String))
    await assert.rejects(all(ipfs.pin.ls({ paths: [from.cid] })), /is not pinned/)
  },
  'pin.rmAll': async () => {
    const cids = [(await ipfs.add('first')).cid, (await ipfs.add('second')).cid]
    assert.deepEqual((await all(ipfs.pin.rmAll(cids))).map(String), cids.map(String))
  },
  'pin.ls by type and path': async () => assert.equal((await all(ipfs.pin.ls({ type: 'recursive', paths: [dir] })))[0].type, 'recursive'),
  'pin.ls indirect': async () => assert.match((await all(ipfs.pin.ls({ type: 'indirect' })))[0].type, /^indirect/),
  'pin.remote.service.add': async () => ipfs.pin.remote.service.add(service.name, service),
  'pin.remote.service.ls with stat': async () => assert.equal((await ipfs.pin.remote.service.ls({ stat: true }))[0].stat.status, 'valid'),
  'pin.remote.add': async () => assert.equal((await ipfs.pin.remote.add(dir, { service: 'ours', name: 'remote', background: true })).cid.toString(), dir.toString()),
  'pin.remote.ls': async () => assert.equal((await all(ipfs.pin.remote.ls({ service: 'ours', name: 'remote', status: ['queued', 'pinning', 'pinned'] })))[0].name, 'remote'),
  'pin.remote.rm': async () => ipfs.pin.remote.rm({ service: 'ours', name: 'remote', status: ['queued', 'pinning', 'pinned'] }),
  'pin.remote.rmAll': async () => ipfs.pin.remote.rmAll({ service: 'ours' }),
  'pin.remote.service.rm': async () => { await ipfs.pin.remote.service.rm('ours'); assert.deepEqual(await ipfs.pin.remote.service.ls(), []) },
  'provide.stat': async () => assert.ok(await ipfs.provide.stat()),
  'pubsub.ls, off in Kubo': async () => assert.rejects(ipfs.pubsub.ls(), pubsubOff),
  'pubsub.peers, off in Kubo': async () => assert.rejects(ipfs.pubsub.peers('topic'), pubsubOff),
  'pubsub.publish, off in Kubo': async () => assert.rejects(ipfs.pubsub.publish('topic', Buffer.from('x')), pubsubOff),
  'pubsub.subscribe, off in Kubo': async () => assert.rejects(new Promise((resolve, reject) => { ipfs.pubsub.subscribe('topic', () => {}, { onError: reject }).then(() => setTimeout(resolve, 1000), reject) }), pubsubOff),
  'pubsub.unsubscribe': async () => ipfs.pubsub.unsubscribe('topic'),
  'routing.findPeer': async () => assert.ok((await all(ipfs.routing.findPeer((await other.id()).id))).length > 0),
  'routing.findProvs': async () => assert.ok((await all(ipfs.routing.findProvs(dir, { numProviders: 1 }))).some(e => e.providers?.length > 0)),
  'routing.provide': async () => all(ipfs.routing.provide(dir)),
  'routing.get': async () => {
    const { name } = await ipfs.name.publish(`/ipfs/${dir}`, { allowOffline: true })
    assert.ok((await all(ipfs.routing.get(`/ipns/${name}`))).some(e => e.value?.length > 0))
  },
  'routing.put': async () => {
    const { name } = await ipfs.name.publish(`/ipfs/${dir}`, { allowOffline: true })
    const [{ value }] = (await all(ipfs.routing.get(`/ipns/${name}`))).filter(e => e.value)
    await all(ipfs.routing.put(`/ipns/${name}`, value, { allowOffline: true }))
  },
  'swarm.disconnect': async () => assert.match((await ipfs.swarm.disconnect(`/p2p/${(await other.id()).id}`))[0], /success/),
  'swarm.connect': async () => { const { addresses } = await other.id(); assert.match((await ipfs.swarm.connect(addresses[0]))[0], /success/) },
  'mount, without FUSE': async () => assert.rejects(ipfs.mount({ ipfsPath: '/ipfs', ipnsPath: '/ipns' })),
  getEndpointConfig: async () => assert.equal(ipfs.getEndpointConfig()['api-path'], '/api/v0'),
  'files.write with offset and truncate': async () => {
    await ipfs.files.write('/part', 'abcdef', { create: true, parents: true })
    await ipfs.files.write('/part', 'XY', { offset: 2 })
    assert.equal(await text(ipfs.files.read('/part')), 'abXYef')
    await ipfs.files.write('/part', 'z', { truncate: true })
    assert.equal(await text(ipfs.files.read('/part')), 'z')
    await ipfs.files.rm('/part')
  },
  'files.cp several': async () => {
    await ipfs.files.mkdir('/several')
    await ipfs.files.cp([`/ipfs/${hello}`], '/several/x', { parents: true })
    assert.equal((await all(ipfs.files.ls('/several')))[0].name, 'x')
    await ipfs.files.rm('/several', { recursive: true })
  },
  'add a tree with modes and times': async () => {
    const { cid } = (await all(ipfs.addAll([{ path: 't/f', content: 'x', mode: 0o600, mtime: { secs: 1e9 } }], { preserveMode: true, preserveMtime: true }))).at(-1)
    const { mode, mtime } = await ipfs.files.stat(`/ipfs/${cid}/f`)
    assert.deepEqual([mode, mtime?.secs], [0o600, 1000000000])
  },
  'add rawLeaves, chunker, trickle': async () => assert.ok((await ipfs.add('y'.repeat(3000), { rawLeaves: true, chunker: 'size-1024', trickle: true })).cid),
  'ls a path': async () => assert.deepEqual((await all(ipfs.ls(`${dir}/sub`))).map(e => e.name), ['two']),
  'get as an archive': async () => assert.ok((await all(ipfs.get(dir, { archive: true, compress: true }))).length > 0),
  'refs with edges': async () => assert.match((await all(ipfs.refs(dir, { edges: true })))[0].ref, /->/),
  'block.get of what nobody has': async () => assert.rejects(ipfs.block.get('bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy', { timeout: 2000 })),
  'id of another': async () => { const { id } = await other.id(); assert.equal((await ipfs.id({ peerId: id })).id.toString(), id.toString()) },
  'id with a timeout': async () => assert.ok((await ipfs.id({ timeout: 5000 })).id),
  'pin.add of nonsense': async () => assert.rejects(ipfs.pin.add('nonsense'), /invalid/i)
}

const settings = 'the settings of a peer are its operator\'s: they stand in service.json'
await score('kubo-rpc-client', cases, {
  'bootstrap.add': settings,
  'bootstrap.rm': settings,
  'config.set': settings,
  'config.profiles.apply': settings
}, 108)
