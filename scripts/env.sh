# Sourced by the scripts beside it: says where this lab, its Java and its engines are. POSIX sh; starts no Python.

ROOT=$(dirname "$(dirname "$(readlink -f "$0")")")
VENV=${LAB_VENV:-$ROOT/.venv}
LAB_HOME=${LAB_HOME:-$ROOT/.lab/home}
case $LAB_HOME in
  /*) ;;
  "~/"*) LAB_HOME=$HOME/${LAB_HOME#??} ;;
  *) LAB_HOME=$PWD/$LAB_HOME ;;
esac

# What this home remembers holds only where the environment says nothing: the precedence of lab/settings.py.
if [ -r "$LAB_HOME/conf/lab.env" ]; then
  while IFS= read -r line; do
    name=${line%%=*}
    case $name in
      *[!A-Z0-9_]*) ;;
      LAB_?*) eval "[ -n \"\${$name:-}\" ]" || eval "export $line" ;;
    esac
  done < "$LAB_HOME/conf/lab.env"
fi
LAB_CACHE=${LAB_CACHE:-$ROOT/.lab/cache}
case $LAB_CACHE in
  /*) ;;
  "~/"*) LAB_CACHE=$HOME/${LAB_CACHE#??} ;;
  *) LAB_CACHE=$PWD/$LAB_CACHE ;;
esac
export LAB_HOME LAB_CACHE

if [ -z "${JAVA_HOME:-}" ] && [ -r "$ROOT/.lab/toolchain.env" ]; then
  . "$ROOT/.lab/toolchain.env"
fi
for PYSPARK in "$VENV"/lib/python3.*/site-packages/pyspark; do break; done
if [ ! -x "$VENV/bin/python" ] || [ ! -d "$PYSPARK" ] || [ -z "${JAVA_HOME:-}" ]; then
  echo "${0##*/}: this lab is not set up; run make setup first (in $ROOT)" >&2
  exit 1
fi
export JAVA_HOME
# An HDFS that runs elsewhere is told who asks; the lab's own does not care.
[ -z "${LAB_HDFS:-}" ] || export HADOOP_USER_NAME="${HADOOP_USER_NAME:-${LAB_USER:-lab}}"
JAVA=$JAVA_HOME/bin/java

# For the short-lived command line tools: a quick start counts, not peak speed.
CLIENT_JVM="-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.net.preferIPv4Stack=true"

HADOOP_CONF_DIR=$LAB_HOME/conf/hadoop
export HADOOP_CONF_DIR
# Hadoop's classes, unpacked by set-up, and the few of pyspark's jars that they need besides.
HADOOP_CLASS_PATH=$LAB_CACHE/hadoop/classes/minicluster:$LAB_CACHE/hadoop/classes/client-api
for jar in hadoop-client-runtime slf4j-api jcl-over-slf4j log4j-api log4j-core log4j-slf4j2-impl log4j-1.2-api snappy-java; do
  for path in "$PYSPARK/jars/$jar"-[0-9]*.jar; do
    HADOOP_CLASS_PATH=$HADOOP_CLASS_PATH:$path
  done
done
