#!/usr/bin/perl

# A certificate for the node's own name: issued by pebble, with its refused
# nonces and late validations, through tailscale's control and DNS; served to
# a real tailscaled; renewed under way in each worker, without a reload and
# over the deaths of the core in the middle of an order.

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
my $pebble = $lab->pebble(host => $lab->host('ca'), nonces => 20, sleep => 1);
my $tailnet = $lab->small_tailnet(testcontrol => 1, control => {
    args => ['-set-txt=' . $pebble->set_txt],
});
my ($peer, $web, $control) = @{$tailnet}{qw(peer web control)};
my $nginx = $lab->nginx(host => $web, module => 1);

$nginx->configure(
    main => "worker_processes 2;\n"
        . $nginx->tailnet_block($control, $tailnet->{auth_key},
            extra => 'acme_directory ' . $pebble->url . ';'),
    http => <<'HTTP', stream => <<'STREAM');
    ssl_certificate     $tailnet_certificate;
    ssl_certificate_key $tailnet_certificate_key;

    server {
        listen 443 ssl tailnet=home;
        listen 127.0.0.1:8443 ssl;
        server_name web.lab.test;
        return 200 $pid;
    }

    server {
        listen 443 ssl tailnet=home;
        server_name www.lab.test;
        return 200 "another: $tailnet_certificate_key";
    }
HTTP
    server {
        listen 444 ssl tailnet=home;
        ssl_certificate     ${tailnet_certificate};
        ssl_certificate_key ${tailnet_certificate_key};
        return streamed;
    }
STREAM

$nginx->start;

my $node = $peer->wait_peer('web', 20);
my ($web4) = grep { !/:/ } @{$node->{TailscaleIPs}};


# A page by a handshake of its own, checked against pebble's root.

sub get {
    my ($name) = @_;
    $name //= 'web.lab.test';

    return $peer->get("https://$name/", cacert => $pebble->root,
                      resolve => "$name:443:$web4", timeout => 5);
}


# On the host, for the tailnet may be without a core.

sub shown { return $web->certificate(8443, 'web.lab.test') }


sub core {
    return ($web->processes('tailnet-core'))[0];
}


sub wait_core {
    my ($old) = @_;
    return $lab->wait_for(10, 'another core', sub {
        my $pid = core();
        $pid && $pid != ($old // 0) ? $pid : undef;
    });
}


# Until all workers show another certificate than this one.

sub wait_renewed {
    my ($old) = @_;
    my $new;

    eval {
        $lab->wait_for(30, 'another certificate', sub {
            $new = shown();
            $new ne '' && $new ne $old;
        });
    } or die $@, join "\n", $nginx->errors(qr/certificate|core|control/);

    return $new;
}


sub by_workers {
    my ($pem, $rounds) = @_;
    my %seen;
    local $_;

    # whoever takes a connection is up to the kernel

    for (1 .. $rounds) {
        my $r = get();
        $seen{$r->{body}}++ if $r->{ok};
        last if keys %seen == 2;
    }

    return scalar keys %seen;
}


ok($nginx->wait_error_log(40, qr/certificate of web\.lab\.test: issued/),
   'issued');
is(() = $nginx->errors(qr/certificate of .*trying again/), 0,
   'at the first attempt');

my $r = get();
is($r->{status}, 200, 'served, chain and name are good')
    or diag $r->{error}, $nginx->error_log;
like($r->{body}, qr/^\d+$/, 'by a worker');

my (undef, $streamed) = $peer->host->capture('sh', '-c', 'sleep 5 | '
    . "openssl s_client -quiet -verify_return_error -connect $web4:444 "
    . '-servername web.lab.test -verify_hostname web.lab.test -CAfile '
    . $pebble->root . ' 2>/dev/null');
is($streamed, 'streamed', 'by stream, too');

$r = $peer->get("https://www.lab.test/", cacert => $pebble->root,
                resolve => "www.lab.test:443:$web4", args => ['-k']);
is($r->{body}, 'another: ', 'the key is no value for a page');
ok(!get('www.lab.test')->{ok}, 'another name has no certificate');

is($web->get('https://web.lab.test:8443/', cacert => $pebble->root,
             resolve => 'web.lab.test:8443:127.0.0.1')->{status}, 200,
   'a listener of the host has it, too');

my $state = $nginx->prefix . '/state/home';
my @files = glob "$state/cert.* $state/acme.*";
is(@files, 2, 'certificate and account are in the state directory');
is((stat)[2] & 0777, 0600, "$_ is private") for @files;
unlike($nginx->error_log, qr/PRIVATE|BEGIN/, 'no key in the log');

my $status = $control->call(GET => '/status');
is($status->{SetDNS}[0]{Name}, '_acme-challenge.web.lab.test',
   'control was asked for the record');

sub told {
    my ($domain) = @_;
    my $r = $control->call(POST => '/c2n?node=' . $control->node('web')->{Key},
        "GET /tls-cert-status?domain=$domain HTTP/1.1\r\nHost: x\r\n\r\n");
    return $r->{Body};
}

like(told('web.lab.test'), qr/"Valid":\s*true,.*"NotAfter":\s*"20\d\d-/,
     'control may ask for it');
like(told('www.lab.test'), qr/"Missing":\s*true/, 'and for what there is not');

# The server wants it renewed now, which a new core hears.  That one is
# killed, too, in the middle of the order.

my $first = shown();
my $chain = $lab->read_file((grep { /cert\./ } @files)[0]);
my ($leaf) = $chain =~ /(-----BEGIN CERT.*?-----END CERTIFICATE-----\n)/s;
is($first, $leaf, 'what is on disk is what is shown');

$pebble->set_window($leaf, time() - 7200, time() - 3600);

my $old = core();
kill KILL => $old;

ok($nginx->wait_error_log(30, qr/ordering the next/), 'an order is begun');
my $middle = wait_core($old);
kill KILL => $middle;

is(shown(), $first,
   'the present one is shown without a core');
wait_core($middle);

my $second = wait_renewed($first);
isnt($second, $first, 'another one');
$peer->wait_get('https://web.lab.test/', seconds => 40, args => ['-k'],
                resolve => "web.lab.test:443:$web4");
is(by_workers($second, 300), 2, 'both workers answer')
    or diag 'workers: ', join ' ', $nginx->workers;

my $wrong = 0;
shown() eq $second or $wrong++ for 1 .. 20;
is($wrong, 0, 'and none of them shows the former one');
is(get()->{status}, 200, 'it is good, too');

# Refused: one line, and the present one is shown until the next attempt.

$control->call(POST => '/reject', { Path => '/machine/set-dns',
    Status => 403, Message => 'no TXT for you', Times => 1 });
$pebble->set_window($second, time() - 7200, time() - 3600);

$old = core();
kill KILL => $old;
wait_core($old);

ok($nginx->wait_error_log(30, qr/does not publish the DNS record/),
   'control refuses') or diag $nginx->error_log;
is(shown(), $second, 'the present one is shown');
my @lines = $nginx->errors(qr/does not publish the DNS record/);
is(@lines, 1, 'one line');
like($lines[0], qr/\[warn\] .*web\.lab\.test.*\ 403:\ no\ TXT\ for\ you
                   .*valid\ until\ .*trying\ again\ in\ [5-9]\ s/x, 'which says all') or diag @lines;

my $third = wait_renewed($second);
isnt($third, $second, 'and then it is renewed');

# A reload has it from the first handshake on.

$nginx->reload;
my @bad = grep { !$_->{ok} } map {
    $web->get('https://web.lab.test:8443/', cacert => $pebble->root,
              resolve => 'web.lab.test:8443:127.0.0.1')
} 1 .. 20;
is(@bad, 0, 'a reload refuses nobody')
    or diag map({ "$_->{error}\n" } @bad), $nginx->errors(qr/certificate yet/);
is(shown(), $third, 'with the same certificate');

is($nginx->quit, 0, 'nginx quits');

my @alerts = grep { !/core process \d+ ended on signal 9/ }
    $nginx->errors(qr/\[(alert|crit|emerg)\]/);
is(@alerts, 0, 'no alerts') or diag join "\n", @alerts;

done_testing();
