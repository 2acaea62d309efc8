#!/usr/bin/perl

# nginx and its supervisor: trouble with it never stops nginx; what a dial
# that fails looks like; an unprivileged nginx; one process; and that nothing
# is left behind. Control is a closed port of loopback.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Socket;
use Test::More;
use Time::HiRes qw(time sleep);

use Tailnet::Solo;

plan skip_all => 'needs root' if $> != 0;

my $built = Tailnet::Solo->new;

plan skip_all => 'the module is not built' unless -e $built->module;

my $paths = Tailnet::Solo::http_paths();
my ($closed, $port) = (Tailnet::Port::free(), Tailnet::Port::free());
my $address = "127.0.0.1:$port";


sub config {
    my (%opt) = @_;
    my $main = $opt{main} // '';
    my $block = $opt{block} // '';
    my $http = $opt{http} // '';

    return <<"CONF";
$main worker_processes 2; events { worker_connections 256; }
tailnet %%NODE%% { control_url http://127.0.0.1:$closed; state state; $block }
http {
    $paths
    log_format up '\$uri \$upstream_addr \$upstream_status';
    access_log logs/up.log up;
    proxy_connect_timeout 2s;
    upstream nobody { server nobody:8080 tailnet; }
    upstream ip     { server 192.0.2.1 tailnet; }
    upstream next   { server nobody tailnet max_fails=0;
                      server $address max_fails=0; }
    server { listen $address; location / { return 200 host; }
             location /nobody { proxy_pass http://nobody; }
             location /ip     { proxy_pass http://ip; }
             location /next   { proxy_pass http://next/; } }
    server { listen $port tailnet; location / { return 200 page; }
             location /addr { return 200
                 '\$remote_addr \$server_addr \$server_port'; } }
    $http
}
CONF
}


sub nothing_left {
    my ($solo, $name) = @_;

    ok($solo->wait_for(10, 'the end of our processes',
                       sub { !$solo->processes }), "$name: no process left");
    ok(!-e $solo->run_dir, "$name: no run-time directory left");
}


sub ours { return $_[0]->errors(qr/tailnet(?::| "|\/)/) }


subtest 'root' => sub {
    my $solo = Tailnet::Solo->new;
    my $node = $solo->node;

    $solo->configure(config());
    $solo->start;

    is($solo->get($address), 'host', 'host listener');
    is($solo->get($address, $node), 'page', 'tailnet listener');
    is($solo->get("$address/addr", $node), "127.0.0.1 127.0.0.1 $port",
       'addresses by IPv4');
    is($solo->get("[::1]:$port/addr", $node), "::1 ::1 $port",
       'addresses by IPv6');

    my ($core) = $solo->wait_for(5, 'core',
                                 sub { ($solo->processes('tailnet-core'))[0] });
    my $status = do { local @ARGV = "/proc/$core/status"; join '', <> };

    unlike($status, qr/^Uid:.*\b0\b/m, 'the core is not root');
    like($status, qr/^CapEff:\s+0+$/m, 'the core has no capability');

    for my $process ($core, $solo->processes('tailnet-super')) {
        my @inet = grep { defined && m{^/.*nginx|anon_inode:bpf} }
            map { readlink } glob "/proc/$process/fd/*";
        ok(!(grep { m{/conf/|/html/|access|up\.log} } @inet),
           'no file of nginx is open in ' . Tailnet::Solo::comm($process));
    }

    # Nobody is there to dial: no netmap came.

    for my $case (['nobody', 'nobody:8080'], ['ip', '192.0.2.1:80']) {
        my ($uri, $name) = @$case;
        my @before = $solo->errors(qr/\[error\]/);

        like($solo->get("$address/$uri"), qr/50[24]/, "$uri: refused");

        my @now = $solo->errors(qr/\[error\].*"GET/);
        my @new = @now[grep { $_ >= 0 } scalar(grep { /"GET/ } @before)
                       .. $#now];

        is(scalar @new, 1, "$uri: one line of error");
        like($new[0] // '', qr/upstream: "http:..\Q$name\E\/$uri"/,
             "$uri: the upstream as written");
    }

    is($solo->get("$address/next"), 'host', 'the next upstream');

    # written after the answer
    $solo->wait_for(5, 'the log', sub {
        $solo->read('logs/up.log') =~ m{^/next }m
    });
    like($solo->read('logs/up.log'),
         qr/^\/nobody nobody:8080 50[24]$/m, '$upstream_addr');
    like($solo->read('logs/up.log'),
         qr/^\/next nobody:80, \Q$address\E 50[24], 200$/m,
         '$upstream_addr of two');

    # The signaller reads the configuration, too, but starts nothing.

    my ($super) = $solo->processes('tailnet-super');

    is(($solo->run('-s', 'reload'))[0], 0, 'nginx -s reload');
    is(join(' ', $solo->processes('tailnet-super')), $super,
       'nginx -s reload: the same supervisor');

    # Graceful end.

    my $begin = time;

    is(($solo->run('-s', 'quit'))[0], 0, 'nginx -s quit');
    nothing_left($solo, 'quit');
    cmp_ok(time() - $begin, '<', 20, 'quit: in time');
    is(join("\n", $solo->errors(qr/\[(?:alert|emerg|crit)\]/)), '',
       'nothing alarming in the log');
};


subtest 'killed master' => sub {
    my $solo = Tailnet::Solo->new;

    $solo->configure(config());
    $solo->start;

    my $master = $solo->pid;
    my @all = ($master, Tailnet::Solo::children($master));

    kill 'KILL', @all;
    nothing_left($solo, 'kill -9 of nginx');
};


subtest 'no program' => sub {
    my $solo = Tailnet::Solo->new;

    $solo->configure(config(main => 'tailnet_core /nonexistent/core;'));
    $solo->start;

    is($solo->get($address), 'host', 'the host listener serves');

    my @lines = ours($solo);

    is(scalar @lines, 1, 'one line in the log') or diag(join "\n", @lines);
    like($lines[0], qr/\[error\].*nonexistent\/core.*listeners are left out/,
         'it says why');

    # Healed by a reload.

    $solo->configure(config());
    $solo->reload;
    is($solo->get($address, $solo->node), 'page', 'there after a reload');

    # And broken by none: the supervisor is running.

    $solo->configure(config(main => 'tailnet_core /nonexistent/core;'));
    $solo->reload;
    is($solo->get($address, $solo->node), 'page', 'a running one is joined');

    $solo->quit;
    nothing_left($solo, 'quit');
};


subtest 'a program that is another' => sub {
    my $solo = Tailnet::Solo->new;
    my $begin = time;

    $solo->configure(config(main => 'tailnet_core /bin/false;'));
    $solo->start;

    is($solo->get($address), 'host', 'the host listener serves');
    cmp_ok(time() - $begin, '<', 20, 'in time');
    is(scalar grep({ /left out/ } ours($solo)), 1, 'one line in the log');

    $solo->quit;
    nothing_left($solo, 'quit');
};


subtest 'no root' => sub {
    my $as = 'setpriv --reuid=www-data --regid=www-data --clear-groups';
    my $try = `$as unshare -Urn true 2>&1`;

    plan skip_all => "no user namespaces here: $try" if $?;

    my $solo = Tailnet::Solo->new(user => 1);

    $solo->configure(config());
    $solo->start;

    is($solo->get($address), 'host', 'host listener');
    is($solo->get($address, $solo->node), 'page', 'tailnet listener');

    $solo->reload;
    is($solo->get($address, $solo->node), 'page', 'after a reload');

    $solo->quit;
    nothing_left($solo, 'quit');
};


for my $daemon (qw(on off)) {
    subtest "one process, daemon $daemon" => sub {
        my $solo = Tailnet::Solo->new;
        my $node = $solo->node;

        $solo->configure(config(main => "master_process off; "
                                        . "daemon $daemon;"));

        my $pid;

        if ($daemon eq 'on') {
            $solo->start;
        } else {
            $pid = fork // die "fork: $!";
            exec $solo->command or POSIX::_exit(127) unless $pid;
            $solo->wait_for(10, 'the pid file', sub { $solo->pid });
        }

        is($solo->get($address), 'host', 'host listener');
        is($solo->get($address, $node), 'page', 'tailnet listener');
        is(join(' ', $solo->processes('tailnet-super'),
                $solo->processes('tailnet-core')), '',
           'no supervisor, no core process');
        like($solo->get("$address/nobody"), qr/50[24]/, 'a dial is answered');
        is($solo->get("$address/next"), 'host', 'the next upstream');

        my $tasks = () = glob '/proc/' . $solo->pid . '/task/*';
        cmp_ok($tasks, '>', 1, 'the core is a thread');

        # A reload leaves a cycle behind for half a minute. (nginx alone does
        # not answer rightly after it, either.)

        $solo->signal('HUP');
        $solo->wait_for(10, 'the reload',
                        sub { $solo->errors('reconfiguring') });

        $solo->quit;
        waitpid $pid, 0 if $pid;
        nothing_left($solo, 'quit');
        is(join("\n", $solo->errors('did not stop')), '',
           'it has waited for the core');
    };
}


# At worker_shutdown_timeout nginx calls whoever reads: a dial that waits for
# the core's answer is no connection yet.  It has to be found before its client,
# so connections are left behind which are used again from the last on.

subtest 'worker_shutdown_timeout' => sub {
    my $solo = Tailnet::Solo->new;
    my $stream = '/usr/lib/nginx/modules/ngx_stream_module.so';
    my $ours = $solo->module =~ s/ngx_tailnet/ngx_stream_tailnet/r;

    plan skip_all => 'stream is no object'
        if $solo->{static} || !-e $stream || !-e $ours;

    my $waits = Tailnet::Port::free();

    $solo->configure("load_module $stream; load_module $ours;\n"
        . config(main => 'worker_shutdown_timeout 1s;')
            =~ s/worker_processes 2/worker_processes 1/r . <<"STREAM");
stream {
    upstream nobody { server nobody:80 tailnet; }
    server { listen 127.0.0.1:$waits; proxy_pass nobody; }
}
STREAM
    $solo->start;

    my @held = map { IO::Socket::INET->new(PeerAddr => $address) } 1 .. 8;
    syswrite $_, 'G' for @held;
    sleep 0.5;
    close $_, sleep 0.1 for @held;

    my $client = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$waits");

    sleep 0.5;
    ok($solo->quit(10), 'nginx ends');
    is(scalar($solo->errors('shutdown timeout while connecting')), 1,
       'while a dial waits');
    is(join("\n", $solo->errors('\[(?:alert|emerg|crit|error)\]')), '',
       'nobody takes it for a connection');
};


# What the core has connected to and says nothing by: as far as it waits for
# that, a worker goes on for 5 s.

subtest 'worker_shutdown_timeout, Funnel' => sub {
    my $end;

    for (1 .. 3) {
        my $solo = Tailnet::Solo->new;

        $solo->configure(config(
            main => 'worker_shutdown_timeout 1s;',
            http => 'server { listen 443 tailnet funnel; }')
            =~ s/worker_processes 2/worker_processes 1/r);
        $solo->start;

        my $name = $solo->wait_for(5, 'the listener',
                                   sub { funnel_name($solo) });

        socket my $core, AF_UNIX, SOCK_SEQPACKET, 0 or die "socket: $!\n";
        connect $core, pack_sockaddr_un($name) or die "connect: $!\n";

        my $begin = time();

        sleep 0.5;
        kill 'QUIT', $solo->pid;
        sysread $core, my $got, 1;
        $end = time() - $begin;
        ok($solo->quit(10), 'nginx ends');

        last if $end < 4;
    }

    cmp_ok($end, '<', 4, 'without what is not yet a connection');
};

done_testing();


# Of the socket that a worker accepts from.

sub funnel_name {
    my ($solo) = @_;
    my ($worker) = Tailnet::Solo::children($solo->pid);
    my %ours = map { (readlink) // '' => 1 } glob "/proc/$worker/fd/*";

    open my $fh, '<', '/proc/net/unix' or die "unix: $!\n";

    for my $line (<$fh>) {
        my @field = split ' ', $line;

        return $field[7] =~ s/^@/\0/r
            if @field == 8 && $field[3] eq '00010000' && $field[4] eq '0005'
            && $ours{"socket:[$field[6]]"};
    }

    return;
}
