# One image for every server of the lab, and for the client in which steps run (docker-compose.yml).
# The same versions as on a machine of one's own: apt for the JDK and ab, requirements.lock and lab/engines/locks for the rest.
# Any builder will do. Debian's own image is the base; scripts/docker-base makes one where no image registry is reached.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS system
RUN mkdir -p /usr/share/man/man1 \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        apache2-utils make openjdk-17-jdk-headless procps python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && ln -s /usr/lib/jvm/java-17-openjdk-* /opt/java
ENV JAVA_HOME=/opt/java LAB_VENV=/opt/lab/venv LAB_CACHE=/opt/lab/cache

# What is downloaded; a change of the pipeline's code does not download it again.
FROM system AS setup
WORKDIR /lab
COPY requirements.lock ./
COPY scripts/bootstrap scripts/
COPY lab/__init__.py lab/atomic.py lab/console.py lab/errors.py lab/settings.py lab/
COPY lab/engines/__init__.py lab/engines/fetch.py lab/engines/
COPY lab/engines/locks lab/engines/locks
COPY lab/engines/java lab/engines/java
# The certificates of a proxy, and a bundle (make bundle), where scripts/compose or you have put them: not in the image in the end.
COPY requirements.lock .la[b]/image/certificates.pem lab-bundle-*.ta[r] ./
ARG LAB_MAVEN_MIRROR
ARG PIP_INDEX_URL
RUN if [ -e certificates.pem ]; then \
        export PIP_CERT=/lab/certificates.pem REQUESTS_CA_BUNDLE=/lab/certificates.pem; \
    fi; \
    scripts/bootstrap && rm -rf .lab

FROM system
COPY --from=setup /opt/lab /opt/lab
WORKDIR /lab
# What an engine needs. The client sees the checkout in its place, so that an edit of the pipeline is no other image.
COPY scripts scripts
COPY lab/__init__.py lab/atomic.py lab/console.py lab/errors.py lab/kafka_client.py lab/neighbour.py lab/settings.py lab/
COPY lab/engines lab/engines
# Servers run as `lab`. The client writes into the checkout and runs as its owner, who needs a name here too: Hadoop asks for it.
ARG UID=1000
RUN useradd --no-log-init --uid 1000 --create-home lab \
    && { getent passwd "$UID" >/dev/null || useradd --no-log-init --uid "$UID" --no-create-home owner; } \
    && mkdir -m 777 /var/lib/lab /opt/lab/cache/matplotlib
ENV PATH=/opt/lab/venv/bin:/lab/scripts:$PATH PYTHONPATH=/lab PYTHONPYCACHEPREFIX=/tmp/pycache \
    LAB_HOME=/var/lib/lab/home LAB_BIND=0.0.0.0
USER lab
ENTRYPOINT ["python", "-m", "lab.engines.container"]
CMD ["run", "client"]
