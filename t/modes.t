#!/usr/bin/perl

# The ways to run nginx, each a node of a real tailnet that exchanges HTTP with
# a tailscaled both ways: without root (a user namespace), and as one process
# (the core is a thread of it), with and without root; and the node without
# nginx.  And what memory our processes take, beside nginx's own.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet;
my ($peer, $web, $infra) = @{$tailnet}{qw(peer web infra)};


sub exchange {
    my ($name, $main, %opt) = @_;
    my $nginx = $lab->nginx(host => $web, module => 1, name => $name, %opt);

    $nginx->configure(
        main => $main . $nginx->tailnet_block($tailnet->{control},
            $tailnet->{auth_key}, hostname => $name),
        http => <<'HTTP');
        upstream peer { server peer:80 tailnet=home; }
        server {
            listen 80 tailnet=home;
            location = /addr { return 200 "$remote_addr $tailnet_peer"; }
        }
        server {
            listen 8000;
            location / { proxy_pass http://peer; }
        }
HTTP

    my $size = 20 * 1024 * 1024;
    my $big = $nginx->prefix . '/html/big';
    my $copy = $lab->path('copy');

    $lab->run('dd', 'if=/dev/urandom', "of=$big", 'bs=1M', 'count=20',
              'status=none');

    $nginx->start;

    eval { $peer->wait_peer($name, 20) };

    is($peer->wait_get("http://$name/addr", seconds => 20)->{body},
       $peer->ip4 . ' peer', 'the peer reaches nginx, which knows who it is')
        or diag($nginx->error_log);

    is($peer->get("http://$name/big", out => $copy, timeout => 60)->{size},
       $size, 'a download is complete');
    is(system('cmp', '-s', $big, $copy), 0, 'and byte-exact');

    my $r = $infra->wait_get('http://' . $web->ip4 . ':8000/', seconds => 10);
    is($r->{status}, 200, 'nginx reaches the peer') or diag($nginx->error_log);

    my @names = map { my $t = $lab->read_file("/proc/$_/comm"); chomp $t; $t }
        $web->pids;

    return ($nginx, join ' ', sort @names);
}


# Our processes with their names, the holder among them: it lives in its own
# network, and is a child of the supervisor.

sub ours {
    my %name;

    for my $pid ($web->pids) {
        my $children = "/proc/$pid/task/$pid/children";

        for ($pid, split ' ', $lab->read_file($children) // '') {
            my $comm = $lab->read_file("/proc/$_/comm") // '';
            $name{$_} = $1 if $comm =~ /^tailnet-(\w+)/;
        }
    }

    return \%name;
}


# MB (10^6) that they have resident, each for itself.

sub resident {
    my ($ours) = @_;

    return map {
        my $text = $lab->read_file("/proc/$_/smaps_rollup") // '';
        $ours->{$_} => ($text =~ /^Rss:\s+(\d+)/m ? $1 : 0) * 1024 / 1e6
    } sort keys %$ours;
}


# The start is over some seconds after it; headroom is half as much again.

sub is_small {
    my ($most) = @_;
    my $ours = ours();
    my %maps = map { $ours->{$_} => $lab->read_file("/proc/$_/maps") }
        keys %$ours;
    my (%mb, $sum);

    unlike($maps{core}, qr/libcurl/, 'the core has no libcurl');

  SKIP: {
        skip 'a build for finding errors', scalar keys %maps
            if $maps{core} =~ /lib[at]san/;

        for my $name (grep { $_ ne 'core' } sort keys %maps) {
            my %libraries = map { $_ => 1 }
                grep { !/^(?:libc|ld-linux)/ }
                $maps{$name} =~ m{/([^/\n]*\.so\b)}g;

            is(join(' ', sort keys %libraries), '',
               "$name has the C library only");
        }

        ok(eval { $lab->wait_for(30, 'little memory', sub {
            %mb = resident($ours);
            $sum = 0;
            $sum += $_ for values %mb;
            return $sum <= $most;
        }) }, "together they have $most MB at most");
        (defined $sum && $sum <= $most ? \&note : \&diag)->(join ', ',
            map { sprintf '%s %.1f MB', $_, $mb{$_} } sort keys %mb);
    }
}


sub ends {
    my ($nginx) = @_;

    is($nginx->quit, 0, 'nginx quits');
    ok(eval { $lab->wait_for(5, 'the end', sub { !$web->pids }) },
       'nothing is left behind') or diag(`ps -o pid,args -p @{[$web->pids]}`);
    is(scalar($nginx->errors(qr/\[(?:alert|emerg|crit)\]/)), 0, 'no alerts')
        or diag($nginx->errors(qr/\[(?:alert|emerg|crit)\]/));
}


subtest 'without root' => sub {
    my ($nginx, $names) = exchange('noroot', '', user => 'www-data');

    like($names, qr/tailnet-core.*tailnet-super/, 'processes of its own');
    like($nginx->error_log, qr/user namespace|own network namespace/,
         'the log tells how');

    my %uids = map { ($lab->read_file("/proc/$_/status")
                      =~ /^Uid:\s+(\d+)/m)[0] => 1 } $web->pids;
    ok(!$uids{0}, 'no process of root');

    is_small(12);

    ends($nginx);
};

subtest 'one process' => sub {
    my ($nginx, $names) = exchange('single', "master_process off;\n");

    unlike($names, qr/tailnet-(?:core|super)/, 'no process but the holder');

    ends($nginx);
};

subtest 'one process without root' => sub {
    my ($nginx) = exchange('both', "master_process off;\n",
                           user => 'www-data');
    ends($nginx);
};

subtest 'without nginx' => sub {
    my $program = $lab->path('modules') . '/ngx_tailnet_core';
    my $state = $lab->path('alone');
    my $key = $lab->path('alone.key');

    $lab->write_file($key, "\n $tailnet->{auth_key}\n");
    my $node = $web->start('alone', [$program, 'node', '--state', $state,
        '--hostname', 'alone', '--control-url', $tailnet->{control}->url,
        '--auth-key', "file:$key", '--ca', $lab->ca->cert]);

    ok(eval { $peer->wait_peer('alone', 20) }, 'it is on the tailnet')
        or diag($node->log);

    # the holder is nobody's child, and writes to the same log

    my ($holder) = map { m{^/proc/(\d+)/} } grep {
        (readlink $_ // '') eq $lab->path('alone.log')
            && $lab->read_file(s{/fd/2\z}{/comm}r) =~ /^tailnet-netns/
    } glob '/proc/[0-9]*/fd/2';
    my $page = eval { $lab->wait_for(20, 'a page', sub {
        my (undef, $text) = Tailnet::Lab::capture('nsenter', '-t', $holder,
            '-n', 'curl', '-s', '--max-time', 3,
            'http://' . $peer->ip4 . '/');
        return $text =~ /Hello/ && $text;
    }) };
    like($page // '', qr/Hello from the web server/,
         'who enters its namespace is there too') or diag($node->log);
    like((Tailnet::Lab::capture($program, 'status', '--run', $state))[1],
         qr/name +alone\..* peer\./s, 'the tool asks it');

    is($node->stop, 0, 'it ends');
    ok(eval { $lab->wait_for(5, 'the end',
                             sub { !readlink "/proc/$holder/ns/net" }) },
       'nothing is left behind');
};

subtest 'the auth key without nginx' => sub {
    my $program = $lab->path('modules') . '/ngx_tailnet_core';
    my @command = ($program, 'node', '--state', $lab->path('bare'),
        '--control-url', 'http://127.0.0.1:9', '--auth-key');
    my $node = $web->start('bare', [@command, 'tskey-in-the-open',
        '--proxy', 'http://me:secret@127.0.0.1:9', '--hostname', 'bare']);

    ok(eval { $node->wait_log(20, qr/tailnet core .*started/) }, 'it starts')
        or diag($node->log);

    my $arguments = $lab->read_file('/proc/' . $node->pid . '/cmdline');
    like($arguments, qr/--auth-key\0.*--hostname\0bare/s,
         'its arguments can be seen');
    unlike($arguments, qr/tskey|secret/, 'no secret among them');
    is($node->stop, 0, 'it ends');

    local $ENV{LAB_NO_KEY} = 'of two words';

    for (['no file', "file:$program.key", qr/No such file/],
         ['an empty file', 'file:/dev/null', qr/there is no key in file:/],
         ['a program', "file:$program", qr/there is no key in file:/],
         ['a sentence', 'env:LAB_NO_KEY', qr/there is no key in env:/],
         ['words', 'two words', qr/there is no key in --auth-key/],
         ['a long word', 'x' x 5000, qr/there is no key in --auth-key/])
    {
        my ($what, $where, $why) = @$_;
        my ($status, $said) = Tailnet::Lab::capture(@command, $where);
        is($status, 1, "$what is no key");
        like($said, $why, 'which is said');
    }
};

done_testing();
