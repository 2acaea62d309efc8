#!/usr/bin/perl

# Trouble with the tailnet: a wrong key, no control, control by a certificate
# nobody vouches for, control that goes away and comes back, a state directory
# that is taken. The host's listeners serve all the while, one clear line says
# what is wrong, no key is in a log, and what can heal heals by itself.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time sleep);

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet;
my ($peer, $web, $infra, $control) = @{$tailnet}{qw(peer web infra control)};

my $http = <<'HTTP';
    upstream peer { server peer:80 tailnet=home; }
    server { listen 80 tailnet=home; location / { return 200 tailnet; } }
    server { listen 8000; location / { return 200 host; }
             location /peer { proxy_pass http://peer/;
                              proxy_connect_timeout 2s; } }
HTTP


sub nginx_with {
    my ($name, $key, %opt) = @_;
    my $nginx = $lab->nginx(host => $web, module => 1, name => $name);

    $nginx->configure(
        main => $nginx->tailnet_block($opt{control} // $control, $key,
                                      hostname => $name, %opt),
        http => $opt{http} // $http);
    $nginx->{key} = $key;

    return $nginx;
}


sub host_serves {
    my ($name, $port) = @_;
    my $url = 'http://' . $web->ip4 . ':' . ($port // 8000) . '/';

    is($infra->get($url, timeout => 5)->{body}, 'host',
       "$name: the host's listener serves");
}


sub no_key {
    my ($nginx, $name) = @_;

    is(index($nginx->error_log, $nginx->{key}), -1, "$name: no key in the log");
}


sub logged {
    my ($nginx, $regex, $name, $seconds) = @_;

    ok(eval { $nginx->wait_error_log($seconds // 10, $regex) }, $name)
        or diag($nginx->error_log);
}


sub joined {
    my ($name, $what, $seconds) = @_;

    eval { $peer->wait_peer($name, $seconds) };
    is($peer->wait_get("http://$name/", seconds => $seconds)->{body},
       'tailnet', $what);
}


subtest 'a wrong key' => sub {
    my $wrong = $tailnet->{auth_key};
    $wrong =~ s/(.{12})$/reverse $1/e;

    my $nginx = nginx_with('wrong', $wrong);

    $nginx->start;
    host_serves('at once');
    logged($nginx, qr/\[error\].*tailnet "home".*key/i, 'the log says so');

    is($infra->get('http://' . $web->ip4 . ':8000/peer')->{status} =~ /^50[24]/,
       1, 'an upstream on it: 502 or 504');

    my @lines = $nginx->errors(qr/\[(?:warn|error)\].*tailnet "home": control/);
    sleep 3;
    no_key($nginx, 'wrong');

    # the right one, by a reload

    $nginx->write('conf/home.key', "$tailnet->{auth_key}\n", 0600);
    $nginx->reload;
    joined('wrong', 'joined after a reload with the right key', 30);
    no_key($nginx, 'right');
    $nginx->quit;
};


subtest 'control away' => sub {
    my $nginx = nginx_with('away', $tailnet->{auth_key});

    $control->stop;
    $nginx->start;
    host_serves('without control');
    logged($nginx, qr/tailnet "home".*refused/i, 'the log says so');

    sleep 2;
    $control->start;
    joined('away', 'joined when control came', 40);

    # and away again, under way

    $control->stop;
    logged($nginx, qr/tailnet "home".*control/, 'its end is noticed');
    is($peer->get('http://away/')->{body}, 'tailnet',
       'traffic goes on without control') for 1 .. 3;
    is($infra->get('http://' . $web->ip4 . ':8000/peer')->{status}, 200,
       'dials too');

    $control->start;
    ok(eval {
        $lab->wait_for(45, 'online', sub {
            my $n = eval { $control->node('away') };
            $n && $n->{online};
        })
    }, 'online again when control is back') or diag($nginx->error_log);

    no_key($nginx, 'away');
    $nginx->quit;
};


subtest 'control that talks rubbish' => sub {
    my $pid = fork // die "fork: $!";

    if (!$pid) {
        exec 'ip', 'netns', 'exec', $infra->ns, $^X, '-e', <<'RUBBISH';
use IO::Socket::INET;
$SIG{ALRM} = sub { exit }; alarm 60; $SIG{PIPE} = 'IGNORE';
my $l = IO::Socket::INET->new(LocalPort => 9999, Listen => 9, ReuseAddr => 1);
my @answers = ("\0" x 5000, "HTTP/1.1 200 OK\r\n\r\n{\"publicKey\":",
    "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nx",
    "HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", "");
for (my $n = 0; my $c = $l->accept; $n++) {
    sysread $c, my $x, 4096; syswrite $c, $answers[$n % @answers]; close $c;
}
RUBBISH
        exit 127;
    }

    my $fake = bless {}, 'Rubbish';
    my $nginx = nginx_with('rubbish', $tailnet->{auth_key},
                           control => $fake);

    $nginx->start;
    host_serves('with rubbish');
    logged($nginx, qr/tailnet "home": control.*10\.77\.0\.1/,
           'the log says so');
    sleep 4;
    ok($nginx->alive, 'nginx lives');
    is(scalar($nginx->errors(qr/exited on signal|core process .* ended/)), 0,
       'and so does the core');
    no_key($nginx, 'rubbish');
    $nginx->quit;
    kill 'TERM', $pid;
    waitpid $pid, 0;
};

sub Rubbish::url { return 'http://' . $infra->ip4 . ':9999' }


subtest 'a state directory that is taken' => sub {
    my $first = nginx_with('first', $tailnet->{auth_key});

    $first->start;
    joined('first', 'the first one', 30);

    my ($address) = $first->error_log =~ /this node is \S+ (\S+)/;

    my $second = $lab->nginx(host => $web, module => 1, name => 'second');
    my $state = $first->prefix . '/state/home';
    my $block = $second->tailnet_block($control, $tailnet->{auth_key},
                                       hostname => 'second');
    $block =~ s/%%STATE%%\/home/$state/;
    (my $other = $http) =~ s/8000/8001/;
    $second->configure(main => $block, http => $other);
    $second->{key} = $tailnet->{auth_key};

    $second->start;
    host_serves('the second', 8001);
    logged($second, qr/\[error\].*state directory.*in use by another process/,
           'the second one says so');
    is($peer->get('http://first/')->{body}, 'tailnet', 'the first serves on');

    $first->quit;
    logged($second, qr/this node is second\.\S+ \Q$address\E/,
           'the second one is the node when it is free', 20);
    $second->quit;
};


subtest 'a state directory of somebody else' => sub {
    my $nginx = nginx_with('other', $tailnet->{auth_key});
    my $dir = $nginx->prefix . '/state/home';

    mkdir $dir;
    chmod 0755, $dir;

    $nginx->start;
    host_serves('with it');
    logged($nginx, qr/\[error\].*state directory "\Q$dir\E"/,
           'the log says so');

    chown((getpwnam 'nobody')[2, 3], $dir);
    chmod 0700, $dir;
    joined('other', 'joined when it is right', 40);
    $nginx->quit;
};


subtest 'a certificate nobody vouches for' => sub {
    my $tls = $lab->headscale(host => $infra, derp => [$tailnet->{derper}],
                              tls => 1, version => 29);
    my $nginx = nginx_with('tls', $tls->auth_key, control => $tls);

    (my $text = $nginx->config) =~ s/tls_trusted_certificate [^;]*;//;
    $lab->write_file($nginx->prefix . '/conf/nginx.conf', $text);

    $nginx->start;
    host_serves('with it');
    logged($nginx, qr/tailnet "home".*certificate/, 'the log says so');
    no_key($nginx, 'tls');
    $nginx->quit;
};

done_testing();
