package com.facebook.drift.transport.netty.server;

import com.facebook.drift.transport.server.ServerMethodInvoker;
import com.facebook.drift.transport.server.ServerTransport;
import com.facebook.drift.transport.server.ServerTransportFactory;
import io.netty.buffer.ByteBufAllocator;
import javax.inject.Inject;

/**
 * Stands before Drift's class of the same name on Presto's class path, because Presto always starts a Thrift server,
 * and that server has no setting for the address on which it listens: it takes every interface of the machine.
 * Coordinator and workers speak HTTP with each other unless told otherwise, so nobody misses the one that never starts.
 */
public final class DriftNettyServerTransportFactory implements ServerTransportFactory {
    private final DriftNettyServerConfig config;
    private final ByteBufAllocator allocator;

    @Inject
    public DriftNettyServerTransportFactory(DriftNettyServerConfig config) {
        this(config, ByteBufAllocator.DEFAULT);
    }

    public DriftNettyServerTransportFactory(DriftNettyServerConfig config, ByteBufAllocator allocator) {
        this.config = config;
        this.allocator = allocator;
    }

    @Override
    public ServerTransport createServerTransport(ServerMethodInvoker invoker) {
        // A subclass, for Presto casts it, to announce its port to the other nodes.
        return new DriftNettyServerTransport(invoker, config, allocator) {
            @Override
            public void start() {}

            @Override
            public int getPort() {
                return config.getPort();
            }
        };
    }
}
