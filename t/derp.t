#!/usr/bin/perl

# The path machine against a real derper on loopback: upgrade and login over
# plain HTTP, packets, STUN, and a direct path by CallMeMaybe; the same through
# a real nginx that lets WebSocket pass and no other upgrade.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::IP;
use Test::More;
use Time::HiRes qw(sleep);

use File::Temp qw(tempdir);

use Tailnet::Port;

my $root = "$FindBin::Bin/..";
my $program = ($ENV{BUILD} // "$root/build") . '/t/unit/derp_live';
chomp(my $bin = `$root/t/peers/build --bin`);

plan skip_all => 'no derper: make peers' unless -x "$bin/derper";

ok(-x $program, 'the program is built') or BAIL_OUT('make units');

my $dir = tempdir(CLEANUP => 1);
my ($port, $stun) = (Tailnet::Port::free('tcp'), Tailnet::Port::free('udp'));
my $pid = start();
my $proxy;

END {
    if ($pid) {
        my $status = $?;

        for ($pid, $proxy // ()) {
            kill TERM => $_;
            waitpid $_, 0;
        }

        $? = $status;
    }
}

ok(accepts($port), 'derper is up');

live('plain', $port);

# A proxy that knows of WebSocket and strips any other upgrade.

SKIP: {
    chomp(my $nginx = `command -v nginx || echo /usr/sbin/nginx`);
    skip 'no nginx', 1 unless -x $nginx;

    my $front = Tailnet::Port::free('tcp');
    $proxy = proxy($nginx, $front);
    ok(accepts($front), 'a proxy before it is up');
    live('by WebSocket', $front);

    # a connection is logged when the proxy has seen its end

    my @seen;

    for (1 .. 300) {
        open my $log, '<', "$dir/access" or die "$dir/access: $!";
        @seen = <$log>;
        last if grep { /^101 websocket/ } @seen;
        sleep 0.1;
    }

    ok((grep { /^426 DERP/ } @seen), "DERP's own upgrade did not pass");
    ok((grep { /^101 websocket/ } @seen), "WebSocket did") or diag(@seen);
}

done_testing();


sub live {
    my ($name, $port) = @_;
    my @lines = `$program $port $stun 2>&1`;
    my $status = $?;

    for (@lines) {
        chomp;

        if (/^(not )?ok \d+ - (.*)/) {
            ok(!$1, "$name: $2");

        } elsif (!/^1\.\./) {
            diag($_) if $status;
        }
    }

    is($status, 0, "$name: all of it");
}


sub proxy {
    my ($nginx, $front) = @_;

    open my $conf, '>', "$dir/nginx.conf" or die "$dir/nginx.conf: $!";
    print $conf <<"CONF";
daemon off;
master_process off;
pid $dir/nginx.pid;
error_log $dir/error;
events { }
http {
    log_format upgrade '\$status \$http_upgrade';
    access_log $dir/access upgrade;
    client_body_temp_path $dir/body;
    proxy_temp_path $dir/proxy;
    fastcgi_temp_path $dir/fastcgi;
    uwsgi_temp_path $dir/uwsgi;
    scgi_temp_path $dir/scgi;

    map \$http_upgrade \$upgrade { default ''; websocket websocket; }
    map \$http_upgrade \$hop { default close; websocket upgrade; }

    server {
        listen 127.0.0.1:$front;

        location / {
            proxy_pass http://127.0.0.1:$port;
            proxy_http_version 1.1;
            proxy_set_header Upgrade \$upgrade;
            proxy_set_header Connection \$hop;
        }
    }
}
CONF
    close $conf;

    my $pid = fork // die "fork: $!";

    return $pid if $pid;

    open STDERR, '>', "$dir/nginx.log";
    exec $nginx, '-p', $dir, '-c', "$dir/nginx.conf";
    exit 1;
}


sub start {
    my $pid = fork // die "fork: $!";

    return $pid if $pid;

    open STDOUT, '>', "$dir/log";
    open STDERR, '>&', \*STDOUT;
    exec "$bin/derper", '-a', "127.0.0.1:$port", '-http-port', '-1',
        '-stun-port', $stun, '-c', "$dir/key";
    exit 1;
}


sub accepts {
    my ($port) = @_;

    for (1 .. 300) {
        return 1 if IO::Socket::IP->new(PeerHost => '127.0.0.1',
            PeerPort => $port, Timeout => 1);
        sleep 0.1;
    }

    return 0;
}
