#!/usr/bin/perl

# Every configuration that README.md and docs/ show is taken by "nginx -t" as
# it is printed: what is not a whole one, within the blocks that its directives
# belong to.  Files that it names are there; only load_module is ours.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Tailnet::Solo;

my $solo = Tailnet::Solo->new;

plan skip_all => 'the module is not built' unless -e $solo->module;

my ($dir, $paths) = ($solo->dir, Tailnet::Solo::http_paths());
my $top = "$FindBin::Bin/..";
my $stream = stream_modules();

system("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 "
       . "-nodes -subj /CN=test -days 1 -keyout $dir/conf/key.pem "
       . "-out $dir/conf/cert.pem 2>/dev/null") == 0 or die 'openssl';
$solo->write('conf/ts.key', "tskey-auth-1\n");


# What loads stream with ours, or nothing where this nginx has no stream.

sub stream_modules {
    my $build = `@{[Tailnet::Solo::find_nginx()]} -V 2>&1`;

    return '' if $ENV{TEST_NGINX_STATIC};
    return unless $build =~ /--with-stream\b/;

    my $ours = $solo->module =~ s/ngx_tailnet/ngx_stream_tailnet/r;
    my $own = '';

    if ($build =~ /--with-stream=dynamic/) {
        my ($modules) = $build =~ /--modules-path=(\S+)/;
        my $file = ($modules // '') . '/ngx_stream_module.so';

        return unless -e $file;
        $own = "load_module $file; ";
    }

    return $own . "load_module $ours;";
}


# The directives of the outermost level.

sub outermost {
    my ($text) = @_;
    my ($depth, $begin, @names) = (0, 1);

    $text =~ s/#.*//gm;

    while ($text =~ /'[^']*'|"[^"]*"|([{};])|([^\s{};'"]+)/g) {
        if (defined $1) {
            $depth += $1 eq '{' ? 1 : $1 eq '}' ? -1 : 0;
            $begin = 1;
        } else {
            push @names, $2 if $begin && !$depth && defined $2;
            $begin = 0;
        }
    }

    return map { $_ => 1 } @names;
}


# One directive that may stand once only may be shown in several ways.

sub ways {
    my ($text) = @_;
    my @lines = split /\n/, $text;
    my %names = outermost($text);

    return keys %names == 1 && @lines > 1 && !grep({ !/;\s*$/ } @lines)
        ? @lines : $text;
}


sub whole {
    my ($text) = @_;
    my %has = outermost($text);
    my ($begin, $end) = ('', '');

    $text =~ s{/(?:etc|var)/[\w./-]*/(?:ts|tailnet)\.key|/var/[\w/]+/token}
              {$dir/conf/ts.key}g;
    $text =~ s{/etc/[\w./-]+\.pem}{$dir/conf/cert.pem}g;
    $text =~ s{/etc/[\w./-]+\.key}{$dir/conf/key.pem}g;
    $text =~ s/^error_log .*?;|^user .*?;//gm;
    $text =~ s/^load_module .*;\n//gm;

    if ($has{auth_key} || $has{control_url} || $has{tags}) {
        my $key = $has{auth_key} ? '' : 'auth_key k;';
        my $tags = $text =~ /client_id/ ? 'tags tag:web;' : '';

        return "events { }\ntailnet home { $key $tags\n$text\n}\n";
    }

    if ($has{listen} || $has{location}) {
        my $more = $has{listen} ? "ssl_certificate $dir/conf/cert.pem; "
            . "ssl_certificate_key $dir/conf/key.pem;" : '';

        $text = "server { $more\n$text\n}";
        $has{server} = 1;
    }

    if ($has{server} || $has{upstream} || $has{tailnet_capability}) {
        $text = "upstream app { server web-1 tailnet; }\n$text"
            if $text !~ /^\s*upstream app\b/m;
        $text = "http {\n$text\n}";
        $has{http} = 1;
    }

    $text =~ s/^http \{/http { $paths/m;
    $begin .= "$stream\n" if $text =~ /^stream \{/m;
    $begin .= "events { }\n" unless $has{events};
    $begin .= "tailnet home { auth_key k; }\n" unless $has{tailnet};

    return "$begin$text";
}


my $count = 0;

for my $page ("$top/README.md", glob "$top/docs/*.md") {
    open my $file, '<', $page or die "$page: $!\n";
    my $text = do { local $/; <$file> };
    my $name = $page =~ s{^\Q$top/}{}r;

    while ($text =~ /^```nginx\n(.*?)^```/gms) {
        my $snippet = $1;
        my $line = 1 + (substr($text, 0, $-[1]) =~ tr/\n//);

        $count++;

        SKIP: {
            skip "$name:$line: this nginx has no stream", 1
                if !defined $stream && $snippet =~ /^stream \{/m;

            for my $way (ways($snippet)) {
                $solo->configure(whole($way));

                my ($status, $out) = $solo->run('-t');
                my @said = grep { !/syntax is ok|test is successful/ }
                    split /\n/, $out;

                ok(!$status && !@said, "$name:$line")
                    or diag($out, $solo->read('conf/nginx.conf'));
            }
        }
    }
}

cmp_ok($count, '>', 15, 'there are some');

done_testing();
