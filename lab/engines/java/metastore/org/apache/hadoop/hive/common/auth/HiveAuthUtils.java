package org.apache.hadoop.hive.common.auth;

import java.net.InetSocketAddress;
import org.apache.thrift.transport.TServerSocket;
import org.apache.thrift.transport.TTransportException;

/**
 * Stands before Hive's class of the same name on the metastore's class path, because Hive 2.3 has no setting for the
 * address on which its metastore listens: it asks this method for a socket on host `null`, which means every
 * interface of the machine. This one listens on `-Dlab.bind=…`, and on loopback when nothing is said.
 */
public final class HiveAuthUtils {
    private HiveAuthUtils() {}

    public static TServerSocket getServerSocket(String host, int port) throws TTransportException {
        return new TServerSocket(new InetSocketAddress(System.getProperty("lab.bind", "127.0.0.1"), port));
    }
}
